#include "replicator/replica/retention.hpp"

#include <algorithm>
#include <set>

namespace farshore {

namespace {

/// The later of arrival and own time, for one of the two clocks may have been behind when the point
/// was made; an own time that is still to come says nothing.
wall_time born_at(const kept_candidate &p, wall_time now) {
    constexpr duration ahead_max = std::chrono::minutes(2);
    if (p.arrival == wall_time{}) {
        return p.time;
    }
    return p.time <= now + ahead_max ? std::max(p.arrival, p.time) : p.arrival;
}

} // namespace

std::vector<bool> points_to_keep(std::span<const kept_candidate> points,
                                 std::span<const spacing_rule> rules, wall_time now) {
    std::vector<bool> keep(points.size(), rules.empty());
    for (const spacing_rule &rule : rules) {
        std::set<std::int64_t> seen; // buckets
        for (std::size_t i = 0; i < points.size(); ++i) {
            bool first = true;
            if (i > 0 && points[i].time < points[i - 1].time) {
                seen.clear();
            }
            if (rule.spacing > duration::zero()) {
                const auto since = points[i].time.time_since_epoch();
                first = seen.insert(since / rule.spacing).second;
            }
            const wall_time born = born_at(points[i], now);
            // A time in the future (a clock was set back) is young.
            if (first && (born >= now || now - born <= rule.age)) {
                keep[i] = true;
            }
        }
    }
    for (std::size_t i = 0; i < points.size(); ++i) {
        keep[i] = keep[i] || points[i].held || i + 1 == points.size();
    }
    return keep;
}

} // namespace farshore
