#pragma once
// Which points to keep and why: pure functions of the points, the rules, the space and the time.

#include "replicator/base/clock.hpp"
#include "replicator/base/types.hpp"

#include <cstdint>
#include <optional>
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
    bool bookmark = false; ///< it has a name
    duration keep{};       ///< of a bookmark: so long it was asked to stay; 0: as the longest rule
};

/// The rules that keep a point: bit i for rule i (limits::retain_rules_max), and until when the
/// last of them does, by this site's clock.
struct kept_by_rules {
    std::uint32_t rules = 0;
    bool bookmark = false; ///< it has a name, and is not too old for that
    wall_time until{};

    bool any() const { return rules != 0 || bookmark; }
};

/// For each point (oldest first) which rules keep it.
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
///
/// Bookmarks stay as long as they were asked to, whatever the rules; those of which nobody said how
/// long, as long as the rule that reaches farthest.
std::vector<kept_by_rules> rules_that_keep(std::span<const kept_candidate> points,
                                           std::span<const spacing_rule> rules, wall_time now);

/// For each point (oldest first) whether it stays. The newest always does; without rules all do. A
/// point is dropped when no rule keeps it and nobody holds it.
std::vector<bool> points_to_keep(std::span<const kept_candidate> points,
                                 std::span<const spacing_rule> rules, wall_time now);

struct space_facts {
    std::uint64_t used_bytes = 0;  ///< of everything that counts against the limit
    std::uint64_t limit_bytes = 0; ///< points go until it is kept
};
/// Of the points that stay by `keep` (as points_to_keep gave it), which ones space takes: the
/// oldest first, up to the first that is held, and never the newest. `history_bytes`: of each
/// point, what of the history it alone needs (from it to the next one of the list, dropped or not).
///
/// The history is dropped oldest first and nowhere else: a point that is held keeps all behind it.
struct space_outcome {
    std::vector<bool> keep;
    std::uint64_t used_bytes = 0; ///< afterwards; more than the limit: it can't be kept
};
space_outcome fit_into_space(std::span<const kept_candidate> points,
                             std::span<const std::uint64_t> history_bytes, std::vector<bool> keep,
                             space_facts space);

} // namespace farshore
