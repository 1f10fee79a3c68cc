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

/// A time in the future (a clock was set back) is young.
bool younger(wall_time born, duration age, wall_time now) {
    return born >= now || now - born <= age;
}

void keep_bookmarks(std::span<const kept_candidate> points, std::span<const spacing_rule> rules,
                    wall_time now, std::vector<kept_by_rules> &kept) {
    duration longest{};
    for (const spacing_rule &rule : rules) {
        longest = std::max(longest, rule.age);
    }
    for (std::size_t i = 0; i < points.size(); ++i) {
        const duration age = points[i].keep > duration::zero() ? points[i].keep : longest;
        const wall_time born = born_at(points[i], now);
        if (points[i].bookmark && younger(born, age, now)) {
            kept[i].bookmark = true;
            kept[i].until = born + age;
        }
    }
}

} // namespace

std::vector<kept_by_rules> rules_that_keep(std::span<const kept_candidate> points,
                                           std::span<const spacing_rule> rules, wall_time now) {
    std::vector<kept_by_rules> kept(points.size());
    keep_bookmarks(points, rules, now, kept);
    for (std::size_t r = 0; r < rules.size(); ++r) {
        const spacing_rule &rule = rules[r];
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
            if (first && younger(born, rule.age, now)) {
                kept[i].rules |= std::uint32_t{1} << r;
                kept[i].until = std::max(kept[i].until, born + rule.age);
            }
        }
    }
    return kept;
}

std::vector<bool> points_to_keep(std::span<const kept_candidate> points,
                                 std::span<const spacing_rule> rules, wall_time now) {
    const auto kept = rules_that_keep(points, rules, now);
    std::vector<bool> keep(points.size());
    for (std::size_t i = 0; i < points.size(); ++i) {
        keep[i] = rules.empty() || kept[i].any() || points[i].held || i + 1 == points.size();
    }
    return keep;
}

space_outcome fit_into_space(std::span<const kept_candidate> points,
                             std::span<const std::uint64_t> history_bytes, std::vector<bool> keep,
                             space_facts space) {
    space_outcome out{std::move(keep), space.used_bytes};
    for (std::size_t i = 0; i + 1 < points.size(); ++i) {
        const bool fits = out.used_bytes <= space.limit_bytes;
        if (out.keep[i] && (fits || points[i].held)) {
            break;
        }
        out.keep[i] = false;
        out.used_bytes -= std::min(out.used_bytes, history_bytes[i]);
    }
    return out;
}

} // namespace farshore
