#include "replicator/replica/damage_reach.hpp"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace farshore {

damage_reach::damage_reach(std::span<const damaged_run> runs, interval_id to) {
    std::vector<damaged_run> sorted(runs.begin(), runs.end());
    std::ranges::sort(sorted, {},
                      [](const damaged_run &r) { return std::pair(r.volume.value, r.block); });
    for (const damaged_run &r : sorted) {
        const std::uint64_t end = r.block + r.count;
        if (!open_.empty()) {
            const auto last = std::prev(open_.end());
            if (last->first.first == r.volume.value && last->second.end >= r.block) {
                last->second.end = std::max(last->second.end, end);
                continue;
            }
        }
        if (r.count > 0) {
            open_.emplace(std::pair(r.volume.value, r.block), open_run{end, to});
        }
    }
}

void damage_reach::spoilt(interval_id id, const damaged_run &has) {
    open_.insert_or_assign(std::pair(has.volume.value, has.block),
                           open_run{has.block + has.count, id});
}

void damage_reach::older(interval_id id, const damaged_run &has, bool leads) {
    const std::uint64_t last = has.block + has.count;
    auto at = open_.upper_bound({has.volume.value, has.block});
    if (at != open_.begin()) {
        --at; // it may reach into the entry
    }
    while (at != open_.end() && at->first < std::pair(has.volume.value, last)) {
        const std::uint64_t first_open = at->first.second;
        const std::uint64_t end_open = at->second.end;
        const interval_id to = at->second.to;
        if (at->first.first != has.volume.value || end_open <= has.block) {
            ++at;
            continue;
        }
        const std::uint64_t first = std::max(first_open, has.block);
        const std::uint64_t end = std::min(end_open, last);
        at = open_.erase(at);
        if (first_open < first) {
            open_.emplace(std::pair(has.volume.value, first_open), open_run{first, to});
        }
        if (end < end_open) {
            at = open_.emplace(std::pair(has.volume.value, end), open_run{end_open, to}).first;
        }
        if (leads) {
            open_.emplace(std::pair(has.volume.value, first), open_run{end, id});
        }
        met_.push_back({{has.volume, first, end - first}, {id, to}});
    }
}

bool damage_reach::wants(const damaged_run &has) const {
    const auto after = open_.lower_bound({has.volume.value, has.block + has.count});
    if (after == open_.begin()) {
        return false;
    }
    const auto &[place, open] = *std::prev(after);
    return place.first == has.volume.value && open.end > has.block;
}

std::vector<damage_mark> damage_reach::marks() const {
    std::vector<damage_mark> all = met_;
    for (const auto &[place, open] : open_) {
        all.push_back({{volume_index{place.first}, place.second, open.end - place.second},
                       {interval_id{}, open.to}});
    }
    std::ranges::sort(
        all, {}, [](const damage_mark &m) { return std::pair(m.run.volume.value, m.run.block); });
    std::vector<damage_mark> out;
    for (const damage_mark &m : all) {
        if (!out.empty() && out.back().run.volume == m.run.volume &&
            out.back().run.block + out.back().run.count == m.run.block &&
            out.back().points == m.points) {
            out.back().run.count += m.run.count;
        } else {
            out.push_back(m);
        }
    }
    return out;
}

std::vector<point_span> merged(std::vector<point_span> spans) {
    std::erase_if(spans, [](const point_span &s) { return s.from >= s.to; });
    std::ranges::sort(spans, {}, &point_span::from);
    std::vector<point_span> out;
    for (const point_span &s : spans) {
        if (!out.empty() && s.from <= out.back().to) {
            out.back().to = std::max(out.back().to, s.to);
        } else {
            out.push_back(s);
        }
    }
    return out;
}

const point_span *span_of(std::span<const point_span> merged_spans, interval_id point) {
    const auto after = std::ranges::upper_bound(merged_spans, point, {}, &point_span::from);
    if (after == merged_spans.begin()) {
        return nullptr;
    }
    const point_span &s = *std::prev(after);
    return s.has(point) ? &s : nullptr;
}

} // namespace farshore
