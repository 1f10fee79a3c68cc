// Damaged pieces that a group knows of, and the points that need them.

#include "replicator/base/limits.hpp"
#include "replicator/replica/known_points.hpp"

#include <algorithm>

namespace farshore {
namespace {

std::vector<point_span> spans_of(const std::vector<catalogued_damage> &all) {
    std::vector<point_span> spans;
    for (const catalogued_damage &d : all) {
        spans.push_back({d.from, d.to});
    }
    return merged(std::move(spans));
}

bool covers(const catalogued_damage &a, const catalogued_damage &b) {
    return a.what == b.what && a.volume == b.volume && (a.count == 0) == (b.count == 0) &&
           a.block <= b.block && b.block + b.count <= a.block + a.count;
}

} // namespace

known_points::reached known_points::points_in(const point_span &span) const {
    const auto id_of = &catalogued_point::id;
    const auto first = std::ranges::lower_bound(points, span.from, {}, id_of);
    const auto last = std::ranges::lower_bound(first, points.end(), span.to, {}, id_of);
    reached r;
    r.count = static_cast<std::uint64_t>(last - first);
    for (auto p = first; p != last && r.ids.size() < limits::damaged_points_listed_max; ++p) {
        r.ids.push_back(p->id);
    }
    return r;
}

void known_points::set_damages(std::vector<catalogued_damage> all) {
    damages = std::move(all);
    next_damage = damages.empty() ? 1 : damages.back().id + 1;
    spoilt = spans_of(damages);
}

bool known_points::add_damage(catalogued_damage &d) {
    const std::uint64_t needed = points_in({d.from, d.to}).count;
    for (const catalogued_damage &old : damages) {
        const point_span both{std::max(old.from, d.from), std::min(old.to, d.to)};
        if (covers(old, d) && (both.from < both.to ? points_in(both).count : 0) == needed) {
            return false;
        }
    }
    if (damages.size() < limits::damages_max) {
        d.id = next_damage++;
        damages.push_back(d);
    } else {
        catalogued_damage &last = damages.back();
        last.count = last.block = 0;
        last.from = std::min(last.from, d.from);
        last.to = std::max(last.to, d.to);
        d = last;
    }
    spoilt = spans_of(damages);
    return true;
}

std::vector<std::uint64_t> known_points::drop_marks() {
    std::vector<std::uint64_t> gone;
    std::erase_if(damages, [&](const catalogued_damage &d) {
        const bool unneeded = points_in({d.from, d.to}).count == 0;
        if (unneeded) {
            gone.push_back(d.id);
        }
        return unneeded;
    });
    if (!gone.empty()) {
        spoilt = spans_of(damages);
    }
    return gone;
}

} // namespace farshore
