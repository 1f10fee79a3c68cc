#include "replicator/recovery/retention.hpp"

#include <set>

namespace farshore {

std::vector<bool> points_to_keep(std::span<const kept_candidate> points,
                                 std::span<const spacing_rule> rules, wall_time now) {
    std::vector<bool> keep(points.size(), rules.empty());
    for (const spacing_rule &rule : rules) {
        std::set<std::int64_t> seen; // buckets; a clock that was set back returns to an old one
        for (std::size_t i = 0; i < points.size(); ++i) {
            bool first = true;
            if (rule.spacing > duration::zero()) {
                const auto since = points[i].time.time_since_epoch();
                first = seen.insert(since / rule.spacing).second;
            }
            // A time in the future (clocks differ) is young.
            if (first && (points[i].time >= now || now - points[i].time <= rule.age)) {
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
