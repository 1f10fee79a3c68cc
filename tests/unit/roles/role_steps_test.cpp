// The steps of a role: the closed table, what is refused and in which words, and walks of two sites
// through all of them with an oracle that knows who wrote what.

#include "replicator/roles/role_steps.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

namespace farshore {
namespace {

role_state serving_site() {
    role_state s;
    s.role = site_role::serving;
    s.ancestry = *lineage().child(generation_id{1}, {});
    s.instances = {instance_id{11}};
    return s;
}

role_state following_site() {
    role_state s = serving_site();
    s.role = site_role::following;
    s.instances = {instance_id{12}};
    return s;
}

stream_position position(std::uint64_t n) { return {stream_id{5}, interval_id{n}}; }

content_claim shows(std::uint64_t n) { return {position(n), position(n), false, false}; }

/// The error names the step, and says what to do.
template <class T>
bool refused(const result<T> &r, const char *word) {
    return !r && r.error().text().find(word) != std::string::npos;
}

// ---- the walk

struct walked_site {
    role_state kept;
    std::set<std::uint64_t> content; ///< numbers of writes
    std::vector<std::set<std::uint64_t>> pinned;
    stream_position common;
    bool differs = false;

    content_claim claim() const { return {common, common, differs, false}; }
    bool holds(const std::set<std::uint64_t> &writes) const {
        const auto covers = [&](const std::set<std::uint64_t> &all) {
            return std::ranges::includes(all, writes);
        };
        return covers(content) || std::ranges::any_of(pinned, covers);
    }
};

/// Two sites, a line, operators who say anything at any time. No site is put back, nobody forces.
struct walk {
    std::mt19937_64 dice;
    walked_site sites[2];
    bool connected = false;
    std::uint64_t drawn = 100;
    std::optional<meeting> last;
    std::set<std::uint64_t> waited; ///< what `wait` acknowledged
    std::uint64_t switched = 0, caught_up = 0, refusals = 0;

    explicit walk(std::uint64_t seed) : dice(seed) {
        sites[0].kept = serving_site();
        sites[1].kept = following_site();
        sites[0].common = sites[1].common = position(1);
    }

    std::uint64_t roll(std::uint64_t n) { return dice() % n; }
    std::uint64_t draw() { return ++drawn; }

    void take(std::size_t s, const result<role_state> &after) {
        if (!after) {
            ++refusals;
            CHECK_FALSE(after.error().text().empty());
            return;
        }
        sites[s].kept = *after;
        connected = false;
    }

    void step() {
        const std::size_t s = roll(2);
        walked_site &here = sites[s];
        walked_site &there = sites[1 - s];
        switch (roll(14)) {
        case 0:
        case 1:
        case 2:
            write(here);
            break;
        case 3:
            if (connected) {
                catch_up();
                waited.insert(source().content.begin(), source().content.end());
            }
            break;
        case 4:
        case 5:
            meet_up();
            break;
        case 6:
            connected = false;
            break;
        case 7:
            if (here.kept.role == site_role::following) {
                here.pinned.push_back(here.content);
            }
            take(s, promoted(here.kept, here.claim(), generation_id{draw()}, false));
            break;
        case 8:
            take(s, committed(here.kept));
            break;
        case 9:
            here.pinned.push_back(here.content);
            take(s, discarded(here.kept));
            break;
        case 10:
            here.pinned.push_back(here.content);
            take(s, reversed(here.kept));
            break;
        case 11:
            here.pinned.push_back(here.content);
            take(s, kept_there(here.kept, connected ? std::nullopt : last,
                               s == 0 ? meeting_side::first : meeting_side::second,
                               there.kept.ancestry));
            last.reset();
            break;
        default:
            hand_over(s);
            break;
        }
        judge();
    }

    walked_site &source() { return is_source(sites[0].kept.role) ? sites[0] : sites[1]; }
    walked_site &copy() { return is_source(sites[0].kept.role) ? sites[1] : sites[0]; }

    void write(walked_site &here) {
        if (here.kept.role == site_role::serving) {
            here.content.insert(draw());
            here.differs = true;
        }
    }

    void catch_up() {
        walked_site &from = source();
        walked_site &to = copy();
        if (!std::ranges::includes(from.content, to.content)) {
            to.pinned.push_back(to.content);
        }
        to.content = from.content;
        to.kept.ancestry = from.kept.ancestry;
        from.common = to.common = position(draw());
        from.differs = to.differs = false;
        ++caught_up;
    }

    void meet_up() {
        const meeting m = meet(claim_of(sites[0].kept), claim_of(sites[1].kept));
        last = m;
        connected = false;
        CHECK(m.outcome != meeting_outcome::contradiction);
        CHECK(m.outcome != meeting_outcome::unrelated);
        CHECK(m.outcome != meeting_outcome::two_serving);
        if (m.outcome == meeting_outcome::not_used) {
            const std::size_t who = m.who == meeting_side::first ? 0 : 1;
            sites[who].kept = offers_voided(sites[who].kept, sites[1 - who].kept.offers);
            if (roll(3) == 0) {
                return; // cut before the promise arrives
            }
        }
        const role_state was[] = {sites[0].kept, sites[1].kept};
        for (std::size_t i = 0; i < 2; ++i) {
            const meeting_side side = i == 0 ? meeting_side::first : meeting_side::second;
            if (m.outcome == meeting_outcome::handed_over && m.who == side) {
                // All of it is there, and what was promised to be nothing lost is nothing lost.
                CHECK(std::ranges::includes(sites[1 - i].content, sites[i].content));
            }
            sites[i].kept = after_meeting(was[i], m, side, was[1 - i], was[1 - i].void_upto);
        }
        if (m.outcome == meeting_outcome::follows) {
            catch_up();
            connected = true;
        }
    }

    void hand_over(std::size_t s) {
        walked_site &here = sites[s];
        walked_site &there = sites[1 - s];
        const auto offering = handing_over(here.kept, generation_id{draw()}, connected);
        if (!offering) {
            ++refusals;
            return;
        }
        here.kept = *offering;
        if (roll(4) == 0) {
            connected = false; // a crash after the first step
            return;
        }
        catch_up();
        const auto offer = offer_of(here.kept, here.claim(), there.common);
        REQUIRE(offer);
        if (roll(4) == 0) {
            connected = false;
            return; // the offer is lost on its way
        }
        const auto accepted = offer_accepted(there.kept, there.claim(), *offer);
        REQUIRE_MESSAGE(accepted, (accepted ? "" : accepted.error().text()));
        there.kept = *accepted;
        connected = false;
        ++switched;
        CHECK_FALSE(offer_accepted(there.kept, there.claim(), *offer)); // and never again
    }

    void judge() {
        const bool both =
            sites[0].kept.role == site_role::serving && sites[1].kept.role == site_role::serving;
        if (both && sites[0].kept.ancestry.newest() == sites[1].kept.ancestry.newest()) {
            FAIL("two sites serve in one generation");
        }
        if (!sites[0].holds(waited) && !sites[1].holds(waited)) {
            FAIL("what a wait acknowledged is nowhere");
        }
    }
};

} // namespace

TEST_SUITE("role_steps") {
    TEST_CASE("every role has every event once") {
        std::set<std::pair<site_role, role_event>> seen;
        for (const role_case &c : role_cases) {
            CHECK(seen.emplace(c.role, c.event).second);
            const bool writes = c.action != role_action::ignore && c.action != role_action::refuse;
            CHECK((writes || c.next == c.role));
        }
        CHECK(seen.size() == site_roles.size() * role_events.size());
    }

    TEST_CASE("each command's step leads where the table says, or is refused where it is") {
        for (const site_role role : site_roles) {
            role_state s = serving_site();
            s.role = role;
            s.trial = promotion_trial::discardable;
            s.offered = generation_id{role == site_role::handing_over ? 8U : 0U};
            const meeting split{meeting_outcome::split_brain, meeting_side::nobody};
            const std::pair<role_event, result<role_state>> taken[] = {
                {role_event::promote, promoted(s, shows(9), generation_id{2}, false)},
                {role_event::promote_forced, promoted(s, shows(9), generation_id{2}, true)},
                {role_event::commit, committed(s)},
                {role_event::discard, discarded(s)},
                {role_event::reverse, reversed(s)},
                {role_event::keep_there, kept_there(s, split, meeting_side::first, s.ancestry)},
                {role_event::hand_over, handing_over(s, generation_id{2}, true)},
                {role_event::offer_come,
                 offer_accepted(s, shows(9), {1, generation_id{2}, generation_id{1}, position(9)})},
            };
            for (const auto &[event, after] : taken) {
                INFO(name_of(role), ", event ", static_cast<int>(event));
                const role_case c = next(role, event);
                const bool nothing =
                    c.action == role_action::refuse || c.action == role_action::ignore;
                REQUIRE(after.has_value() == !nothing);
                CHECK((!after || after->role == c.next));
                CHECK((!after || after->offered.value == 0 || c.next == site_role::handing_over));
            }
        }
    }

    TEST_CASE("promote: a generation that leaves its parent where the content is") {
        const auto s = promoted(following_site(), shows(9), generation_id{2}, false);
        REQUIRE(s);
        CHECK(s->role == site_role::serving);
        CHECK(s->ancestry.generations().back() == generation{generation_id{2}, position(9)});
        CHECK(s->trial == promotion_trial::discardable);
        CHECK(refused(promoted(*s, shows(9), generation_id{3}, false), "it serves already"));
        CHECK(refused(promoted(role_state{}, {}, generation_id{3}, false), "no copy"));
        content_claim odd = shows(9);
        odd.suspect = true;
        CHECK(refused(promoted(following_site(), odd, generation_id{2}, false), "promote --force"));
        CHECK(promoted(following_site(), odd, generation_id{2}, true));
    }

    TEST_CASE("a promotion is taken back until the other site has heard of it, or it was settled") {
        const auto s = promoted(following_site(), shows(9), generation_id{2}, false);
        REQUIRE(s);
        const auto back = discarded(*s);
        REQUIRE(back);
        CHECK(back->role == site_role::following);
        CHECK(back->ancestry == following_site().ancestry);
        const meeting m = meet(claim_of(*s), claim_of(serving_site()));
        CHECK(m == meeting{meeting_outcome::fenced, meeting_side::second});
        const role_state heard = after_meeting(*s, m, meeting_side::first, serving_site(), 0);
        CHECK(refused(discarded(heard), "`reverse` there"));
        const auto settled = committed(heard);
        REQUIRE(settled);
        CHECK(refused(discarded(*settled), "promote --force"));
        CHECK(refused(committed(*settled), "no promotion"));
        const role_state old = after_meeting(serving_site(), m, meeting_side::second, *s, 0);
        CHECK(old.role == site_role::fenced);
        CHECK(refused(promoted(old, shows(9), generation_id{7}, true), "`reverse`"));
        const auto follower = reversed(old);
        REQUIRE(follower);
        CHECK(meet(claim_of(heard), claim_of(*follower)).outcome == meeting_outcome::follows);
    }

    TEST_CASE("an offer is good for one barrier, one generation, one time") {
        const auto offering = handing_over(serving_site(), generation_id{2}, true);
        REQUIRE(offering);
        CHECK_FALSE(offer_of(*offering, shows(8), position(7))); // not all is there
        content_claim dirty = shows(8);
        dirty.differs = true;
        CHECK_FALSE(offer_of(*offering, dirty, position(8)));
        const auto offer = offer_of(*offering, shows(8), position(8));
        REQUIRE(offer);
        CHECK(refused(offer_accepted(following_site(), shows(7), *offer), "last barrier"));
        CHECK(refused(offer_accepted(serving_site(), shows(8), *offer), "serving"));
        role_offer other = *offer;
        other.parent = generation_id{9};
        CHECK(refused(offer_accepted(following_site(), shows(8), other), "another generation"));
        CHECK(refused(offer_accepted(offers_voided(following_site(), 1), shows(8), *offer),
                      "given up"));
        const auto taken = offer_accepted(following_site(), shows(8), *offer);
        REQUIRE(taken);
        CHECK(taken->role == site_role::serving);
        CHECK(taken->trial == promotion_trial::none);
        const meeting m = meet(claim_of(*offering), claim_of(*taken));
        CHECK(m == meeting{meeting_outcome::handed_over, meeting_side::first});
        const role_state follows = after_meeting(*offering, m, meeting_side::first, *taken, 0);
        CHECK(follows.role == site_role::following);
        CHECK(follows.ancestry == taken->ancestry);
        CHECK(follows.offered.value == 0);
    }

    TEST_CASE("who offered its role serves again only when the other has sworn not to take it") {
        const auto offering = handing_over(serving_site(), generation_id{2}, true);
        REQUIRE(offering);
        CHECK(refused(promoted(*offering, shows(8), generation_id{3}, false), "--force"));
        CHECK(refused(handing_over(*offering, generation_id{3}, true), "waits to hear"));
        const meeting m = meet(claim_of(*offering), claim_of(following_site()));
        CHECK(m == meeting{meeting_outcome::not_used, meeting_side::second});
        CHECK(after_meeting(*offering, m, meeting_side::first, following_site(), 0) == *offering);
        const role_state again =
            after_meeting(*offering, m, meeting_side::first, following_site(), 1);
        CHECK(again.role == site_role::serving);
        CHECK(again.offered.value == 0);
        const auto second = handing_over(again, generation_id{4}, true);
        REQUIRE(second);
        CHECK(second->offers == 2);
        const auto forced = promoted(*offering, shows(8), generation_id{3}, true);
        REQUIRE(forced); // another generation, so that who took the offer is told apart
        CHECK(forced->ancestry.newest() == generation_id{3});
        CHECK(refused(discarded(*forced), "no promotion to take back"));
    }

    TEST_CASE("only sites that refused each other are asked which content is kept") {
        const lineage other = *serving_site().ancestry.child(generation_id{8}, {});
        const role_state mine = *promoted(following_site(), shows(3), generation_id{9}, false);
        role_state theirs = serving_site();
        theirs.ancestry = other;
        const meeting m = meet(claim_of(mine), claim_of(theirs));
        REQUIRE(m.outcome == meeting_outcome::split_brain);
        const auto s = kept_there(mine, m, meeting_side::first, other);
        REQUIRE(s);
        CHECK(s->role == site_role::following);
        CHECK(s->ancestry == serving_site().ancestry);
        CHECK(meet(claim_of(theirs), claim_of(*s)).outcome == meeting_outcome::follows);
        CHECK(
            refused(kept_there(mine, std::nullopt, meeting_side::first, other), "did not refuse"));
        CHECK(refused(kept_there(mine,
                                 meeting{meeting_outcome::unknown_ancestry, meeting_side::second},
                                 meeting_side::first, other),
                      "did not refuse"));
    }

    TEST_CASE("walks of two sites: nothing acknowledged is lost, and never two serve as one") {
        std::uint64_t switched = 0;
        std::uint64_t caught_up = 0;
        std::uint64_t refusals = 0;
        for (std::uint64_t seed = 1; seed <= 400; ++seed) {
            INFO("seed ", seed);
            walk w(seed);
            for (int i = 0; i < 250; ++i) {
                w.step();
            }
            switched += w.switched;
            caught_up += w.caught_up;
            refusals += w.refusals;
        }
        CHECK(switched > 100);
        CHECK(caught_up > 1000);
        CHECK(refusals > 1000);
    }
}

} // namespace farshore
