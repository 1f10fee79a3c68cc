#include "replicator/roles/role_steps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

/// Why a step is not taken in that role, and what is to be done instead.
std::string_view instead(site_role role, role_event event) {
    using e = role_event;
    switch (role) {
    case site_role::following:
        return event == e::reverse ? "it follows already"
                                   : "it follows the other site; `promote` makes it serve";
    case site_role::serving:
        return event == e::reverse
                   ? "it serves: the other site follows, or is fenced and is reversed there. If "
                     "both serve, docs/failover.md says how one is set up anew"
                   : "it serves already";
    case site_role::handing_over:
        return "it has offered its role to the other site and waits to hear whether that took it: "
               "connect them, or, if the other site is lost for good, `promote --force` here";
    case site_role::fenced:
        return event == e::reverse ? ""
                                   : "it is fenced, for the other site serves a newer generation: "
                                     "`reverse` makes it follow, and then `promote --force` here "
                                     "brings the role back";
    }
    return "";
}

std::unexpected<error> refuse(std::string_view step, std::string_view why) {
    return fail(errc::refused, fmt::format("{}: {}", step, why));
}

result<role_case> step(const role_state &s, role_event event, std::string_view name) {
    const role_case c = next(s.role, event);
    if (c.action == role_action::refuse) {
        return refuse(name, instead(s.role, event));
    }
    return c;
}

role_state become(role_state s, site_role role) {
    s.role = role;
    if (role != site_role::handing_over) {
        s.offered = {};
    }
    return s;
}

/// Role and lineage in one write; what may differ from the other site stays to be settled.
result<role_state> begin(const role_state &s, generation_id id, stream_position left,
                         promotion_trial trial) {
    FS_TRY(ancestry, s.ancestry.child(id, left));
    role_state after = become(s, site_role::serving);
    after.ancestry = std::move(ancestry);
    after.trial = trial;
    return after;
}

role_state follow_from(const role_state &s, lineage ancestry) {
    role_state after = become(s, site_role::following);
    after.ancestry = std::move(ancestry);
    after.trial = promotion_trial::none;
    return after;
}

} // namespace

result<role_state> promoted(const role_state &s, const content_claim &c, generation_id fresh,
                            bool forced) {
    const role_event event = forced ? role_event::promote_forced : role_event::promote;
    FS_TRY(to, step(s, event, "promote"));
    if (s.ancestry.blank()) {
        return refuse("promote", "there is no copy of the group here yet");
    }
    if (c.suspect && !forced) {
        return refuse("promote", "volumes or state of this site were put back without the other, "
                                 "and nothing proves what the volumes show: connect the sites "
                                 "first, or `promote --force`");
    }
    // Who promotes for want of proof may not take it back as if nobody could have served meanwhile.
    const bool asked = to.role == site_role::following;
    return begin(s, fresh, c.shows, asked ? promotion_trial::discardable : promotion_trial::none);
}

result<role_state> committed(const role_state &s) {
    FS_TRY(to, step(s, role_event::commit, "commit"));
    if (s.trial == promotion_trial::none) {
        return refuse("commit", "there is no promotion to settle");
    }
    role_state after = become(s, to.next);
    after.trial = promotion_trial::none;
    return after;
}

result<role_state> discarded(const role_state &s) {
    FS_TRY(to, step(s, role_event::discard, "demote --discard"));
    if (s.trial == promotion_trial::heard_of) {
        return refuse("demote --discard",
                      "the other site has heard of this promotion and serves no "
                      "more: `reverse` there, then `promote --force` there");
    }
    if (s.trial == promotion_trial::none) {
        return refuse(
            "demote --discard",
            "there is no promotion to take back, or it was committed. Bring the role back "
            "with `promote --force` at the other site when it follows");
    }
    role_state after = follow_from(s, s.ancestry.parent());
    after.role = to.next;
    return after;
}

result<role_state> reversed(const role_state &s) {
    FS_TRY(to, step(s, role_event::reverse, "reverse"));
    return become(s, to.next);
}

result<role_state> kept_there(const role_state &s, std::optional<meeting> refused,
                              meeting_side we_are, const lineage &other) {
    using o = meeting_outcome;
    const bool asked =
        refused && (refused->outcome == o::split_brain || refused->outcome == o::two_serving ||
                    ((refused->outcome == o::unknown_ancestry || refused->outcome == o::clone) &&
                     refused->who == we_are));
    if (!asked) {
        return refuse("reverse --keep there",
                      "the sites did not refuse each other when they met last, so there is nothing "
                      "to choose between; `farshore status` shows how they stand");
    }
    role_state after = follow_from(s, s.ancestry.shared_with(other));
    after.partner = {};
    return after;
}

// ---- switchover
// ----------------------------------------------------------------------------------

result<role_state> handing_over(const role_state &s, generation_id fresh, bool other_follows) {
    FS_TRY(to, step(s, role_event::hand_over, "switchover"));
    if (!other_follows) {
        return fail(errc::not_in_sync, "switchover: the other site does not follow now; `farshore "
                                       "status` says why. If this site is lost, `promote` there");
    }
    if (s.ancestry.knows(fresh) || fresh.value == 0) {
        return fail(errc::invalid, "switchover: the new generation's id is taken");
    }
    role_state after = become(s, to.next);
    after.offered = fresh;
    ++after.offers;
    return after;
}

std::optional<role_offer> offer_of(const role_state &s, const content_claim &mine,
                                   stream_position theirs) {
    const bool proved = !mine.differs && mine.common == theirs && mine.common == mine.shows;
    if (s.role != site_role::handing_over || !proved || s.ancestry.blank()) {
        return std::nullopt;
    }
    return role_offer{s.offers, s.offered, *s.ancestry.newest(), mine.common};
}

result<role_state> offer_accepted(const role_state &s, const content_claim &c,
                                  const role_offer &offer) {
    const role_case to = next(s.role, role_event::offer_come);
    const auto stale = [&](std::string_view why) {
        return fail(errc::not_in_sync,
                    fmt::format("switchover: offer {} is not taken: {}", offer.number, why));
    };
    if (to.action != role_action::begin_offered) {
        return stale(fmt::format("this site is {}", name_of(s.role)));
    }
    if (offer.number <= s.void_upto) {
        return stale("it was given up");
    }
    if (s.ancestry.newest() != offer.parent) {
        return stale("it is of another generation than this site follows");
    }
    if (c.differs || c.suspect || c.shows != offer.barrier || c.common != offer.barrier) {
        return stale("this site does not show the last barrier of the other one");
    }
    return begin(s, offer.begins, offer.barrier, promotion_trial::none);
}

result<role_state> offer_untold(const role_state &s) {
    const role_case to = next(s.role, role_event::offer_not_taken);
    if (to.action != role_action::drop_offer) {
        return refuse("switchover", fmt::format("this site is {}", name_of(s.role)));
    }
    return become(s, to.next);
}

role_state offers_voided(const role_state &s, std::uint64_t upto) {
    role_state after = s;
    if (next(s.role, role_event::offer_withdrawn).action == role_action::void_offers) {
        after.void_upto = std::max(s.void_upto, upto);
    }
    return after;
}

// ---- meetings
// ------------------------------------------------------------------------------------

role_state after_meeting(const role_state &s, const meeting &m, meeting_side we_are,
                         const role_state &theirs, std::uint64_t they_void) {
    using o = meeting_outcome;
    const bool ours = m.who == we_are;
    role_state after = s;
    if (m.outcome == o::fenced && ours) {
        after = become(s, next(s.role, role_event::newer_met).next);
    } else if (m.outcome == o::handed_over && ours) {
        after = follow_from(s, theirs.ancestry);
    } else if (m.outcome == o::not_used && !ours && they_void >= s.offers) {
        after = become(s, next(s.role, role_event::offer_not_taken).next);
        after.offers = std::max(s.offers, they_void); // the next number is above all that are void
    } else if ((m.outcome == o::fenced || m.outcome == o::follows) && !ours &&
               s.trial == promotion_trial::discardable) {
        after.trial = promotion_trial::heard_of;
    }
    return after;
}

site_claim claim_of(const role_state &s) {
    return {s.role, s.ancestry, s.offered, s.instances, s.partner};
}

} // namespace farshore
