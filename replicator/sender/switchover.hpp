#pragma once
// A planned change of roles, at the site that serves: all of its groups that are asked for, or none
// as far as two sites can know (below). No write is lost, and clients wait for a moment instead of
// getting errors, until it is decided.
//
//   step       what is done                                       if it fails
//   look       each may be handed over now                        nothing was done
//   catch up   each waits until the other site is close behind    nothing was done
//   hold       clients of all wait                                clients of all go on
//   prove      the last barrier of each is applied there          clients of all go on
//   hand over  each, one after the other: role and offer          see below
//
// Once an offer was told, only the other site knows what becomes of it. It takes it or makes it
// void, which the next meeting tells (roles/role_steps.hpp). One of several that is not taken goes
// on here while those before it are served there: the error names both.

#include "replicator/base/async.hpp"
#include "replicator/base/error.hpp"
#include "replicator/session/status.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace farshore {

namespace limits {
/// Clients wait no longer than this for the last barrier.
constexpr duration switchover_hold_max = std::chrono::seconds(8);
/// And for what became of the offer; then they get errors until it is known.
constexpr duration switchover_told_max = std::chrono::seconds(20);
} // namespace limits

/// A group at the site that serves. Home thread.
class switchover_party {
  public:
    virtual const std::string &name() const = 0;
    /// It outlives what this returns.
    virtual std::shared_ptr<void> stay() = 0;
    /// errc::refused: its role is another one; errc::not_in_sync: the other site does not follow
    /// now.
    virtual result<> may_hand_over() const = 0;
    /// A barrier of now is applied there. errc::timeout.
    virtual task<result<>> catch_up(duration patience) = 0;
    /// Clients' requests wait from here on; those under way end.
    virtual void hold() = 0;
    /// All that clients ever wrote is applied there, in a barrier. errc::timeout.
    virtual task<result<>> prove(time_point until) = 0;
    /// The other site serves; this one takes no request any more. errc::not_in_sync: it does not,
    /// and clients go on here; errc::timeout: not known yet, and clients get errors until it is.
    virtual task<result<switchover_outcome>> hand_over() = 0;
    /// Of what is held and was not handed over.
    virtual void go_on() = 0;

  protected:
    ~switchover_party() = default;
};

/// `patience`: of the catch-up. The parties are there as it is called.
task<result<std::vector<switchover_outcome>>> switch_over(std::vector<switchover_party *> parties,
                                                          time_source &time, duration patience);

/// The same of groups by name; `party`: who serves it here, or null; `known`: there is one of that
/// name. errc::not_found, errc::not_in_sync: it is not served here, errc::invalid: one twice.
task<result<std::vector<switchover_outcome>>> switch_over_named(
    std::vector<std::string> groups, std::function<switchover_party *(const std::string &)> party,
    std::function<bool(const std::string &)> known, time_source &time, duration patience);

} // namespace farshore
