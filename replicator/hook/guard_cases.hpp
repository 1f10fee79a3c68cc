#pragma once
// What the guard of a freeze does next: a table of states and events, pure. The guard itself
// (guard.hpp) only brings the events and carries the actions out.
//
// The worker holds the freeze. Three rules are in the table: whatever goes wrong leads out of the
// frozen states; what was said to the sender is said once; a worker that dies or is silent is
// released by force, never believed to have released.

#include <array>
#include <cstdint>
#include <string_view>

namespace farshore::hook {

enum class guard_state : std::uint8_t {
    freezing,   ///< the worker is at it
    frozen,     ///< and the sender knows
    releasing,  ///< asked by the sender: proof, then release
    retreating, ///< release without proof, at once
    done,       ///< the last word is said
};

enum class guard_event : std::uint8_t {
    asked,    ///< the sender's "release"
    nonsense, ///< a line of the sender that is no command
    closed,   ///< the sender is gone, or no longer reads
    signal,   ///< SIGTERM, SIGINT, SIGHUP
    time_up,  ///< timeout_ms since the start is over
    froze,    ///< the worker: it is frozen
    failed,   ///< the worker: it can't, and nothing is frozen
    released, ///< the worker: it is released
    lost,     ///< the worker ended without a last word, or said what makes no sense
    grace_up, ///< the worker was told to let go and is silent for too long
};

enum class guard_action : std::uint8_t {
    none,
    say_frozen,
    say_failed,     ///< exit 1
    ask_release,    ///< the worker proves and releases
    let_go,         ///< the worker releases without proof; the grace begins
    say_released,   ///< with what the worker proved; exit 0
    say_expired,    ///< exit 3
    force_failed,   ///< kill the worker, release by force, then "failed"
    force_released, ///< likewise, then "released" without proof
    force_expired,  ///< likewise, then "expired"
};

struct guard_step {
    guard_state next;
    guard_action action;
    bool operator==(const guard_step &) const = default;
};

struct guard_row {
    guard_state from;
    guard_event event;
    guard_step step;
};

/// Pairs that are not here change nothing (guard_next).
constexpr std::array guard_table{
    // From freezing.
    guard_row{
        guard_state::freezing, guard_event::asked, {guard_state::retreating, guard_action::let_go}},
    guard_row{guard_state::freezing,
              guard_event::nonsense,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{guard_state::freezing,
              guard_event::closed,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{guard_state::freezing,
              guard_event::signal,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{guard_state::freezing,
              guard_event::time_up,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{
        guard_state::freezing, guard_event::froze, {guard_state::frozen, guard_action::say_frozen}},
    guard_row{
        guard_state::freezing, guard_event::failed, {guard_state::done, guard_action::say_failed}},
    guard_row{guard_state::freezing,
              guard_event::released,
              {guard_state::done, guard_action::force_failed}},
    guard_row{
        guard_state::freezing, guard_event::lost, {guard_state::done, guard_action::force_failed}},
    // From frozen.
    guard_row{guard_state::frozen,
              guard_event::asked,
              {guard_state::releasing, guard_action::ask_release}},
    guard_row{guard_state::frozen,
              guard_event::nonsense,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{
        guard_state::frozen, guard_event::closed, {guard_state::retreating, guard_action::let_go}},
    guard_row{
        guard_state::frozen, guard_event::signal, {guard_state::retreating, guard_action::let_go}},
    guard_row{
        guard_state::frozen, guard_event::time_up, {guard_state::retreating, guard_action::let_go}},
    guard_row{
        guard_state::frozen, guard_event::froze, {guard_state::done, guard_action::force_expired}},
    guard_row{
        guard_state::frozen, guard_event::failed, {guard_state::done, guard_action::force_expired}},
    // By its own clock: this process was stopped for a while.
    guard_row{
        guard_state::frozen, guard_event::released, {guard_state::done, guard_action::say_expired}},
    guard_row{
        guard_state::frozen, guard_event::lost, {guard_state::done, guard_action::force_expired}},
    // From releasing. The sender waits for "released", so it is what it gets.
    guard_row{guard_state::releasing,
              guard_event::closed,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{guard_state::releasing,
              guard_event::nonsense,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{guard_state::releasing,
              guard_event::signal,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{guard_state::releasing,
              guard_event::time_up,
              {guard_state::retreating, guard_action::let_go}},
    guard_row{guard_state::releasing,
              guard_event::froze,
              {guard_state::done, guard_action::force_released}},
    guard_row{guard_state::releasing,
              guard_event::failed,
              {guard_state::done, guard_action::force_released}},
    guard_row{guard_state::releasing,
              guard_event::released,
              {guard_state::done, guard_action::say_released}},
    guard_row{guard_state::releasing,
              guard_event::lost,
              {guard_state::done, guard_action::force_released}},
    // From retreating. "frozen" may cross the word to let go; the worker obeys that next.
    guard_row{guard_state::retreating,
              guard_event::failed,
              {guard_state::done, guard_action::say_expired}},
    guard_row{guard_state::retreating,
              guard_event::released,
              {guard_state::done, guard_action::say_expired}},
    guard_row{guard_state::retreating,
              guard_event::lost,
              {guard_state::done, guard_action::force_expired}},
    guard_row{guard_state::retreating,
              guard_event::grace_up,
              {guard_state::done, guard_action::force_expired}},
};

constexpr guard_step guard_next(guard_state state, guard_event event) {
    for (const guard_row &row : guard_table) {
        if (row.from == state && row.event == event) {
            return row.step;
        }
    }
    return {state, guard_action::none};
}

} // namespace farshore::hook
