#pragma once
// What commands and the other site's messages do to a site's role: role and event to the next role
// and what the one durable write of that step has besides. Closed: every pair is there. Pure.
//
// A step pins what it may overwrite first, then writes once, then takes effect; a crash between
// leaves the role as it was, with a pin more. What has to be true of the group's content for a step
// is judged in role_steps.hpp.

#include "replicator/roles/site_role.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace farshore {

enum class role_event : std::uint8_t {
    // an operator's
    promote,
    promote_forced, ///< where the proof is lacking that the other site does not serve
    commit,         ///< of a promotion: there is no way back any more
    discard,        ///< a promotion is undone
    reverse,        ///< this site follows the other from now on
    keep_there,     ///< the sites refuse each other: the other one's content is kept
    hand_over,      ///< switchover, first step
    // what the other site says
    offer_come,      ///< the role is offered to this one, and all of the other is proved to be here
    offer_withdrawn, ///< the other asks what became of its offer, and it was not taken
    offer_taken,     ///< the other began what it was offered
    offer_not_taken, ///< and will never
    newer_met,       ///< the other lives in a newer generation
};

constexpr std::array role_events{
    role_event::promote,     role_event::promote_forced,  role_event::commit,
    role_event::discard,     role_event::reverse,         role_event::keep_there,
    role_event::hand_over,   role_event::offer_come,      role_event::offer_withdrawn,
    role_event::offer_taken, role_event::offer_not_taken, role_event::newer_met};

enum class role_action : std::uint8_t {
    // Of the write that makes the next role
    only_role,
    begin,         ///< another generation, whose parent the newest one is
    begin_offered, ///< the generation that was offered
    settle,        ///< the promotion is for good
    take_parent,   ///< the lineage without its newest generation
    take_shared,   ///< what both sites lived through; the partner may be anybody
    take_theirs,   ///< the other's lineage
    give_offer,    ///< a number, and the generation that the other may begin
    void_offers,   ///< all that were given so far
    drop_offer,    ///< it gave one, and that is over
    // Nothing is written
    ignore, ///< late or twice
    refuse, ///< with what to do instead
};

struct role_case {
    site_role role;
    role_event event;
    site_role next;
    role_action action;
};

// clang-format off
constexpr auto role_cases = [] {
    using r = site_role;
    using e = role_event;
    using a = role_action;
    return std::to_array<role_case>({
        {r::following,    e::promote,         r::serving,      a::begin},
        {r::following,    e::promote_forced,  r::serving,      a::begin},
        {r::following,    e::commit,          r::following,    a::refuse},
        {r::following,    e::discard,         r::following,    a::refuse},
        {r::following,    e::reverse,         r::following,    a::refuse},
        {r::following,    e::keep_there,      r::following,    a::take_shared},
        {r::following,    e::hand_over,       r::following,    a::refuse},
        {r::following,    e::offer_come,      r::serving,      a::begin_offered},
        {r::following,    e::offer_withdrawn, r::following,    a::void_offers},
        {r::following,    e::offer_taken,     r::following,    a::ignore},
        {r::following,    e::offer_not_taken, r::following,    a::ignore},
        {r::following,    e::newer_met,       r::following,    a::ignore},

        {r::serving,      e::promote,         r::serving,      a::refuse},
        {r::serving,      e::promote_forced,  r::serving,      a::refuse},
        {r::serving,      e::commit,          r::serving,      a::settle},
        {r::serving,      e::discard,         r::following,    a::take_parent},
        {r::serving,      e::reverse,         r::serving,      a::refuse},
        {r::serving,      e::keep_there,      r::following,    a::take_shared},
        {r::serving,      e::hand_over,       r::handing_over, a::give_offer},
        {r::serving,      e::offer_come,      r::serving,      a::ignore},
        {r::serving,      e::offer_withdrawn, r::serving,      a::ignore},
        {r::serving,      e::offer_taken,     r::serving,      a::ignore},
        {r::serving,      e::offer_not_taken, r::serving,      a::ignore},
        {r::serving,      e::newer_met,       r::fenced,       a::only_role},

        {r::handing_over, e::promote,         r::handing_over, a::refuse},
        {r::handing_over, e::promote_forced,  r::serving,      a::begin},
        {r::handing_over, e::commit,          r::handing_over, a::refuse},
        {r::handing_over, e::discard,         r::handing_over, a::refuse},
        {r::handing_over, e::reverse,         r::handing_over, a::refuse},
        {r::handing_over, e::keep_there,      r::following,    a::take_shared},
        {r::handing_over, e::hand_over,       r::handing_over, a::refuse},
        {r::handing_over, e::offer_come,      r::handing_over, a::ignore},
        {r::handing_over, e::offer_withdrawn, r::handing_over, a::ignore},
        {r::handing_over, e::offer_taken,     r::following,    a::take_theirs},
        {r::handing_over, e::offer_not_taken, r::serving,      a::drop_offer},
        {r::handing_over, e::newer_met,       r::fenced,       a::drop_offer},

        {r::fenced,       e::promote,         r::fenced,       a::refuse},
        {r::fenced,       e::promote_forced,  r::fenced,       a::refuse},
        {r::fenced,       e::commit,          r::fenced,       a::refuse},
        {r::fenced,       e::discard,         r::fenced,       a::refuse},
        {r::fenced,       e::reverse,         r::following,    a::only_role},
        {r::fenced,       e::keep_there,      r::following,    a::take_shared},
        {r::fenced,       e::hand_over,       r::fenced,       a::refuse},
        {r::fenced,       e::offer_come,      r::fenced,       a::ignore},
        {r::fenced,       e::offer_withdrawn, r::fenced,       a::void_offers},
        {r::fenced,       e::offer_taken,     r::fenced,       a::ignore},
        {r::fenced,       e::offer_not_taken, r::fenced,       a::ignore},
        {r::fenced,       e::newer_met,       r::fenced,       a::ignore},
    });
}();
// clang-format on

static_assert(role_cases.size() == site_roles.size() * role_events.size());

constexpr role_case next(site_role role, role_event event) {
    for (const role_case &c : role_cases) {
        if (c.role == role && c.event == event) {
            return c;
        }
    }
    return {role, event, role, role_action::refuse};
}

} // namespace farshore
