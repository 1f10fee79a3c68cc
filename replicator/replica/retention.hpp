#pragma once
// Which points to keep: a pure function of the points, the rules and the time.

#include "replicator/base/clock.hpp"
#include "replicator/base/types.hpp"

#include <span>
#include <vector>

namespace farshore {

struct spacing_rule {
    duration spacing{}; ///< zero: keep all; else the first point of each bucket of this length
    duration age{};     ///< only points not older than this
};

struct kept_candidate {
    interval_id id;
    wall_time time{};
    bool held = false; ///< pinned or open: stays whatever the rules say
    wall_time
        arrival{}; ///< at this site, by its clock; 1970: not known, the barrier's own time counts
};

/// For each point (oldest first) whether it stays. The newest always does; without rules all do. A
/// point is dropped when no rule keeps it.
///
/// Clocks: a point is as old as its arrival here, since `now` is of this site's clock and its own
/// time is of another one's, which may be hours off; by the later of both where its own time is not
/// to come, for this site's clock may have been behind. Its own time also says in which bucket it
/// is, since a backlog arrives all at once. Where own times go back (that clock was set), buckets
/// begin anew: else an hour of points would count as seen before.
///
/// Buckets are counted from 1970 on, so that the choice
/// doesn't depend on when one asks, and what was kept once is kept until it is too old for its
/// rule.
std::vector<bool> points_to_keep(std::span<const kept_candidate> points,
                                 std::span<const spacing_rule> rules, wall_time now);

} // namespace farshore
