#include "replicator/engine/sender_verify.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace farshore::engine {
namespace {
constexpr std::uint64_t coarse_bytes = 1ULL << 20;
}

void verify_questions::asked(interval_id barrier, const std::vector<verify_entry> &ranges) {
    std::vector<pending_range> &open = open_[barrier.value];
    for (const verify_entry &e : ranges) {
        open.push_back({e.volume, e.range});
    }
    if (open.empty()) {
        open_.erase(barrier.value);
    }
}

result<> verify_questions::answered(const wire::verify_result &r) {
    const auto at = open_.find(r.interval);
    std::vector<pending_range> left = at == open_.end() ? std::vector<pending_range>{} : at->second;
    for (const wire::verify_item &item : r.items) {
        const auto asked = std::ranges::find_if(left, [&item](const pending_range &p) {
            return p.volume.value == item.volume && p.range.offset == item.offset && p.range.length == item.length;
        });
        if (asked == left.end()) {
            return fail_peer(errc::corrupt,
                             fmt::format("the DR site's verify_result is about {} bytes at {} of volume {} at barrier {}, which "
                                         "was not asked for",
                                         item.length, item.offset, item.volume, r.interval));
        }
        left.erase(asked);
    }
    if (left.empty()) {
        open_.erase(at);
    } else {
        at->second = std::move(left);
    }
    return {};
}

void verify_questions::forget_through(interval_id barrier) {
    open_.erase(open_.begin(), open_.upper_bound(barrier.value));
}

verify_run::verify_run(std::vector<std::uint64_t> sizes) : sizes_(std::move(sizes)) {
    for (const std::uint64_t size : sizes_) {
        total_bytes_ += size;
    }
}

std::vector<pending_range> verify_run::take(std::size_t max) {
    std::vector<pending_range> out;
    while (out.size() < max && !again_.empty()) {
        out.push_back(again_.front());
        again_.pop_front();
    }
    while (out.size() < max && walk_volume_ < sizes_.size()) {
        const std::uint64_t size = sizes_[walk_volume_];
        if (walk_offset_ >= size) {
            ++walk_volume_;
            walk_offset_ = 0;
            continue;
        }
        const std::uint64_t length = std::min(coarse_bytes, size - walk_offset_);
        out.push_back({volume_index{walk_volume_}, {walk_offset_, length}});
        walk_offset_ += length;
    }
    taken_.insert(taken_.end(), out.begin(), out.end());
    return out;
}

void verify_run::on_cut(interval_id id, const std::vector<verify_entry> &kept) {
    if (kept.empty()) {
        return;
    }
    for (const verify_entry &e : kept) {
        std::erase_if(taken_, [&](const pending_range &t) { return t.volume == e.volume && t.range == e.range; });
    }
    in_flight_[id.value] = kept.size();
    last_barrier_ = id;
}

void verify_run::put_back_touched() {
    for (const pending_range &t : taken_) {
        const std::uint64_t half = t.range.length > block_bytes
                                       ? std::max<std::uint64_t>(block_bytes, t.range.length / 2 / block_bytes * block_bytes)
                                       : t.range.length;
        again_.push_back({t.volume, {t.range.offset, half}});
        if (half < t.range.length) {
            again_.push_back({t.volume, {t.range.offset + half, t.range.length - half}});
        }
    }
    taken_.clear();
}

void verify_run::on_result(const wire::verify_result &r) {
    const auto at = in_flight_.find(r.interval);
    if (at == in_flight_.end()) {
        return;
    }
    for (const wire::verify_item &item : r.items) {
        const pending_range where{volume_index{static_cast<std::uint16_t>(item.volume)}, {item.offset, item.length}};
        if (item.equal) {
            done_bytes_ += item.length;
        } else if (item.length <= block_bytes) {
            different_.push_back(where);
            done_bytes_ += item.length;
        } else {
            const std::uint64_t unit = item.length > region_bytes ? region_bytes : block_bytes;
            for (std::uint64_t offset = item.offset; offset < where.range.end(); offset += unit) {
                again_.push_back({where.volume, {offset, std::min(unit, where.range.end() - offset)}});
            }
        }
        at->second -= at->second > 0 ? 1 : 0;
    }
    if (at->second == 0) {
        in_flight_.erase(at);
    }
}

bool verify_run::done() const {
    return again_.empty() && taken_.empty() && in_flight_.empty() && walk_volume_ >= sizes_.size();
}

std::vector<pending_range> verify_run::differences() const {
    std::vector<pending_range> sorted = different_;
    std::ranges::sort(sorted, {}, [](const pending_range &p) { return std::pair(p.volume, p.range.offset); });
    std::vector<pending_range> merged;
    for (const pending_range &p : sorted) {
        if (!merged.empty() && merged.back().volume == p.volume && merged.back().range.end() == p.range.offset) {
            merged.back().range.length += p.range.length;
        } else {
            merged.push_back(p);
        }
    }
    return merged;
}

} // namespace farshore::engine
