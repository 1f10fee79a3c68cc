#include "replicator/replica/known_points.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {

result<std::size_t> known_points::place_of(interval_id id) const {
    const auto at = std::ranges::lower_bound(points, id, {}, &catalogued_point::id);
    if (at == points.end() || at->id != id) {
        return fail(errc::not_found, fmt::format("no point {}", id.value));
    }
    return static_cast<std::size_t>(at - points.begin());
}

replica_point known_points::seen(const catalogued_point &p) const {
    return {p.id,   p.time,   p.arrival, p.kind,          p.name,
            p.note, p.pinned, p.hooks,   p.id <= suspect, span_of(spoilt, p.id) != nullptr};
}

points_overview known_points::overview() const {
    points_overview all;
    all.points = points.size();
    const auto first = std::ranges::upper_bound(points, suspect, {}, &catalogued_point::id);
    all.suspect = static_cast<std::uint64_t>(first - points.begin());
    for (const point_span &s : spoilt) {
        all.damaged += points_in(s).count;
    }
    if (const auto newest = newest_good()) {
        auto oldest = first;
        while (const point_span *s = span_of(spoilt, oldest->id)) { // ends at the newest
            oldest = std::ranges::lower_bound(points, s->to, {}, &catalogued_point::id);
        }
        all.oldest = seen(*oldest);
        all.newest = seen(points[*newest]);
    }
    return all;
}

std::optional<std::size_t> known_points::newest_good() const {
    auto end = points.end();
    while (end != points.begin() && std::prev(end)->id > suspect) {
        const point_span *s = span_of(spoilt, std::prev(end)->id);
        if (s == nullptr) {
            return static_cast<std::size_t>(end - points.begin()) - 1;
        }
        end = std::ranges::lower_bound(points.begin(), end, s->from, {}, &catalogued_point::id);
    }
    return std::nullopt;
}

bool known_points::held(const catalogued_point &p, const std::set<interval_id> &in_use,
                        wall_time now) const {
    return p.pinned || open(p.id, in_use) ||
           (rebuilt && p.id <= rebuilt->through && now < rebuilt->at + rebuilt_points_stay);
}

std::vector<kept_candidate> known_points::candidates(const std::set<interval_id> &in_use,
                                                     wall_time now) const {
    std::vector<kept_candidate> all;
    all.reserve(points.size());
    const auto newest = newest_good(); // else space or a rule could leave damaged ones only
    for (std::size_t n = 0; n < points.size(); ++n) {
        const catalogued_point &p = points[n];
        all.push_back({p.id, p.time, n == newest || held(p, in_use, now), p.arrival,
                       !p.name.empty(), p.keep});
    }
    return all;
}

result<> known_points::may_forget(interval_id id, const std::set<interval_id> &in_use) const {
    FS_TRY(at, place_of(id));
    const std::string name = fmt::format("point {}", id.value);
    if (points[at].pinned) {
        return fail(errc::refused, name + " is pinned; `farshore unpin` it first");
    }
    if (open(id, in_use)) {
        return fail(errc::busy, name + " is open; `farshore opened` says as what");
    }
    if (at + 1 == points.size() || at == newest_good()) {
        return fail(errc::refused,
                    name + " is the newest: without it there would be nothing to go back to");
    }
    return {};
}

void known_points::keep_only(const std::vector<bool> &keep) {
    std::deque<catalogued_point> kept;
    for (std::size_t n = 0; n < keep.size(); ++n) {
        if (keep[n]) {
            kept.push_back(std::move(points[n]));
        } else {
            let_go.push_back(points[n].id);
        }
    }
    points = std::move(kept);
}

bool known_points::drop_oldest(const std::set<interval_id> &in_use) {
    if (points.size() <= 1 || newest_good() == 0U || points.front().pinned ||
        open(points.front().id, in_use)) {
        return false;
    }
    let_go.push_back(points.front().id);
    points.pop_front();
    return true;
}

} // namespace farshore
