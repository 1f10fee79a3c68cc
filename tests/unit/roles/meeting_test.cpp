// The table of what sites do when they meet, over all pairs of histories up to a depth, against a
// plain model that knows sets of generations and nothing of prefixes, rows or kinship.

#include "replicator/roles/meeting.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>

namespace farshore {
namespace {

constexpr std::size_t depth_max = 4;
using path = std::vector<std::uint64_t>;

/// All ways from a root through a tree in which each generation has two children: what two sites
/// and their histories can come to, but for names. A generation's id tells its whole way.
std::vector<path> all_paths() {
    std::vector<path> all{{}, {900}, {900, 901}}; // nothing, and another group's
    std::vector<path> level{{1}};
    for (std::size_t depth = 1; depth <= depth_max; ++depth) {
        std::vector<path> next;
        for (const path &p : level) {
            all.push_back(p);
            for (std::uint64_t branch = 0; branch < 2; ++branch) {
                path longer = p;
                longer.push_back(p.back() * 2 + branch);
                next.push_back(longer);
            }
        }
        level = std::move(next);
    }
    return all;
}

lineage lineage_of(const path &p) {
    std::vector<generation> all;
    for (const std::uint64_t id : p) {
        all.push_back({generation_id{id}, {stream_id{id == 1 ? 0 : id / 2}, interval_id{id}}});
    }
    auto l = lineage::of(std::move(all));
    REQUIRE(l);
    return *l;
}

struct plain_site {
    site_role role;
    path way;
    std::uint64_t offer = 0;
    bool stranger = false; ///< it had a partner, which the other one never was
};

bool knows(const plain_site &s, std::uint64_t id) {
    return std::ranges::find(s.way, id) != s.way.end();
}

/// The rules in words, for sites that share a root.
meeting plainly(const plain_site &a, const plain_site &b) {
    using o = meeting_outcome;
    const auto went_on = [](const plain_site &old, const plain_site &young) {
        return old.way != young.way && (old.way.empty() || knows(young, old.way.back()));
    };
    const bool sources[] = {is_source(a.role), is_source(b.role)};
    if (!a.way.empty() && !b.way.empty() && a.way.front() != b.way.front()) {
        return {o::unrelated, meeting_side::nobody};
    }
    if (!sources[0] && !sources[1]) {
        return {o::no_source, meeting_side::nobody};
    }
    const std::pair<const plain_site *, const plain_site *> both[] = {{&a, &b}, {&b, &a}};
    for (int i = 0; i < 2; ++i) { // who was left behind never goes on by itself
        const auto &[x, y] = both[i];
        if (sources[i] && went_on(*x, *y)) {
            const bool taken = x->role == site_role::handing_over && knows(*y, x->offer);
            return {taken ? o::handed_over : o::fenced,
                    i == 0 ? meeting_side::first : meeting_side::second};
        }
    }
    const bool forked = a.way != b.way && !went_on(a, b) && !went_on(b, a);
    if (sources[0] && sources[1]) {
        return {forked ? o::split_brain : o::two_serving, meeting_side::nobody};
    }
    const plain_site &source = sources[0] ? a : b;
    const plain_site &other = sources[0] ? b : a;
    const meeting_side who = sources[0] ? meeting_side::second : meeting_side::first;
    if (forked) {
        return {o::unknown_ancestry, who};
    }
    if (other.stranger) {
        return {o::clone, who};
    }
    if (source.role == site_role::handing_over) {
        return {o::not_used, who};
    }
    return {other.role == site_role::fenced ? o::waits : o::follows, who};
}

constexpr instance_id mine{7};

site_claim claim_of(const plain_site &s) {
    return {s.role, lineage_of(s.way), generation_id{s.offer}, std::span(&mine, 1),
            s.stranger ? instance_id{8} : mine};
}

/// Each role, and where it offers something what it may offer: a child, or what it never had.
std::vector<plain_site> all_sites() {
    std::vector<plain_site> all;
    for (const path &way : all_paths()) {
        for (const site_role role : site_roles) {
            for (const bool stranger : {false, true}) {
                if (role != site_role::handing_over) {
                    all.push_back({role, way, 0, stranger});
                    continue;
                }
                for (const std::uint64_t offer :
                     {way.empty() ? 1 : way.back() * 2, std::uint64_t{5000}}) {
                    all.push_back({role, way, offer, stranger});
                }
            }
        }
    }
    return all;
}

std::string text_of(const plain_site &s) {
    std::string text(name_of(s.role));
    for (const std::uint64_t id : s.way) {
        text += " " + std::to_string(id);
    }
    return text + (s.offer != 0 ? " offers " + std::to_string(s.offer) : "") +
           (s.stranger ? " stranger" : "");
}

} // namespace

TEST_SUITE("meeting") {
    TEST_CASE("all pairs of histories and roles end as the plain model says, at both ends") {
        const std::vector<plain_site> sites = all_sites();
        std::vector<site_claim> claims;
        std::ranges::transform(sites, std::back_inserter(claims), claim_of);
        std::map<meeting_outcome, std::uint64_t> seen;
        std::uint64_t wrong = 0;
        for (std::size_t i = 0; i < sites.size(); ++i) {
            for (std::size_t j = 0; j < sites.size(); ++j) {
                const meeting m = meet(claims[i], claims[j]);
                ++seen[m.outcome];
                if (m != plainly(sites[i], sites[j]) && wrong++ < 5) {
                    FAIL_CHECK(text_of(sites[i]), " meets ", text_of(sites[j]), ": ",
                               name_of(m.outcome), ", not ",
                               name_of(plainly(sites[i], sites[j]).outcome));
                }
            }
        }
        CHECK(wrong == 0);
        // Each row has an outcome of its own, and is reached; but for a contradiction, which no
        // history leads to.
        CHECK(seen.size() == meeting_rows.size() - 1);
        CHECK_FALSE(seen.contains(meeting_outcome::contradiction));
        MESSAGE(sites.size() * sites.size(), " pairs");
    }

    TEST_CASE("what is said of one generation in two ways is refused, whoever says it") {
        const auto odd = lineage::of({{generation_id{1}, {}}, {generation_id{3}, {}}});
        const auto even =
            lineage::of({{generation_id{1}, {}}, {generation_id{2}, {}}, {generation_id{3}, {}}});
        const auto elsewhere = lineage::of(
            {{generation_id{1}, {}}, {generation_id{3}, {stream_id{1}, interval_id{9}}}});
        REQUIRE((odd && even && elsewhere));
        for (const site_role a : site_roles) {
            for (const site_role b : site_roles) {
                for (const lineage *other : {&*even, &*elsewhere}) {
                    const meeting m = meet({a, *odd, {}, {}, {}}, {b, *other, {}, {}, {}});
                    CHECK(m.outcome == meeting_outcome::contradiction);
                    CHECK(is_refused(m.outcome));
                }
            }
        }
    }

    TEST_CASE("a site without a copy follows, whatever the other one lived through") {
        const site_claim blank{site_role::following, {}, {}, {}, {}};
        for (const path &way : all_paths()) {
            if (!way.empty()) {
                const site_claim source{site_role::serving, lineage_of(way), {}, {}, {}};
                CHECK(meet(source, blank) ==
                      meeting{meeting_outcome::follows, meeting_side::second});
                CHECK(meet(blank, source) ==
                      meeting{meeting_outcome::follows, meeting_side::first});
            }
        }
    }
}

} // namespace farshore
