#include "replicator/recovery/retention.hpp"

#include <set>

namespace farshore {

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
            const wall_time born = points[i].arrival != wall_time{} ? points[i].arrival : points[i].time;
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
