#pragma once
// What the catalogue remembers of a group for who asks later how well it was protected: the
// exposure hour by hour, and each rehearsal. Both outlive the points.

#include "replicator/base/clock.hpp"
#include "replicator/base/types.hpp"

#include <string>

namespace farshore {

/// An hour of a group's exposure: how old its newest good point became before the next one came,
/// which is what a loss of the primary would have cost just then.
struct exposure_hour {
    wall_time begin{};    ///< a whole hour, UTC, by the DR site's clock
    duration worst{};     ///< the greatest age in it; 0: there was no point
    wall_time worst_at{}; ///< when that was
    duration watched{};   ///< so much of it somebody looked; the rest the receiver did not run
    duration connected{}; ///< of `watched`: with a session
    duration without{};   ///< of `watched`: without any good point
};

/// A rehearsal, with what is needed of its point when that is gone.
struct recorded_rehearsal {
    interval_id point;           ///< 0: none, for it could not be run, as `message` says
    wall_time point_time{};      ///< 1970: not known
    std::string point_kind = {}; ///< interval, crash, app
    std::string point_name = {};
    wall_time time{}; ///< when it began
    std::string name; ///< of the test in the configuration; empty: somebody's own
    bool passed = false;
    duration took{};
    std::string message; ///< the last lines of what it printed, or why it failed

    bool ran() const { return point.value != 0; }
};

} // namespace farshore
