#pragma once
// What an auditor asks of a group at the DR site: which points are kept, what a loss of the primary
// would have cost at each time, and whether recovery was rehearsed. The figures are pure.

#include "replicator/catalogue/recovery_record.hpp"
#include "replicator/session/status.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct recovery_report {
    std::string group;
    receiver_state state = receiver_state::empty;
    wall_time from{}; ///< of the record; by the DR site's clock
    wall_time to{};
    std::vector<exposure_hour> hours; ///< oldest first; none where the receiver did not run
    std::vector<recorded_rehearsal> rehearsals;
    std::vector<point_info> points; ///< that are kept now, oldest first
};

/// RPO as measured: how much a loss of the primary would have cost.
struct rpo_figures {
    std::optional<duration> worst; ///< nothing: no hour with a point
    wall_time worst_at{};
    std::optional<duration> typical; ///< median of the hours' worst
    duration watched{};
    duration connected{};
    duration without{}; ///< of `watched`, without any good point
};
rpo_figures rpo_of(const std::vector<exposure_hour> &hours);

/// RTO as measured: how long rehearsals took that passed, from opening the copy to their last word.
struct rto_figures {
    std::uint64_t passed = 0;
    std::uint64_t failed = 0;
    std::uint64_t not_run = 0;       ///< they say nothing of the copy
    std::optional<duration> longest; ///< of those that passed
    std::optional<duration> typical; ///< their median
    std::optional<wall_time> last_passed;
};
rto_figures rto_of(const std::vector<recorded_rehearsal> &rehearsals);

struct kept_figures {
    std::uint64_t points = 0;
    std::uint64_t app = 0;
    std::uint64_t named = 0;
    std::uint64_t pinned = 0;
    std::uint64_t suspect = 0;
    std::uint64_t damaged = 0;
};
kept_figures kept_of(const std::vector<point_info> &points);

} // namespace farshore
