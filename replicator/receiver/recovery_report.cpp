#include "replicator/receiver/recovery_report.hpp"

#include <algorithm>

namespace farshore {
namespace {

std::optional<duration> median(std::vector<duration> all) {
    if (all.empty()) {
        return std::nullopt;
    }
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
    std::ranges::nth_element(all, middle);
    return *middle;
}

} // namespace

rpo_figures rpo_of(const std::vector<exposure_hour> &hours) {
    rpo_figures f;
    std::vector<duration> worsts;
    for (const exposure_hour &h : hours) {
        f.watched += h.watched;
        f.connected += h.connected;
        f.without += h.without;
        if (h.worst == duration{}) {
            continue;
        }
        worsts.push_back(h.worst);
        if (!f.worst || h.worst > *f.worst) {
            f.worst = h.worst;
            f.worst_at = h.worst_at;
        }
    }
    f.typical = median(std::move(worsts));
    return f;
}

rto_figures rto_of(const std::vector<recorded_rehearsal> &rehearsals) {
    rto_figures f;
    std::vector<duration> times;
    for (const recorded_rehearsal &r : rehearsals) {
        ++(!r.ran() ? f.not_run : r.passed ? f.passed : f.failed);
        if (r.passed) {
            times.push_back(r.took);
            f.longest = std::max(f.longest.value_or(duration{}), r.took);
            f.last_passed = std::max(f.last_passed.value_or(wall_time{}), r.time);
        }
    }
    f.typical = median(std::move(times));
    return f;
}

kept_figures kept_of(const std::vector<point_info> &points) {
    kept_figures f;
    f.points = points.size();
    for (const point_info &p : points) {
        f.app += p.kind == "app" ? 1 : 0;
        f.named += p.name.empty() ? 0 : 1;
        f.pinned += p.pinned ? 1 : 0;
        f.suspect += p.suspect ? 1 : 0;
        f.damaged += p.damaged ? 1 : 0;
    }
    return f;
}

} // namespace farshore
