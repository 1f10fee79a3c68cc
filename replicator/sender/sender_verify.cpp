#include "replicator/sender/sender_verify.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {
constexpr std::uint64_t coarse_bytes = limits::verify_bytes_max;
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

result<bool> verify_questions::answered(const wire::verify_result &r) {
    if (r.interval <= forgotten_) {
        return false;
    }
    const auto at = open_.find(r.interval);
    std::vector<pending_range> left = at == open_.end() ? std::vector<pending_range>{} : at->second;
    for (const wire::verify_item &item : r.items) {
        const auto asked = std::ranges::find_if(left, [&item](const pending_range &p) {
            return p.volume.value == item.volume && p.range.offset == item.offset &&
                   p.range.length == item.length;
        });
        if (asked == left.end()) {
            return fail_peer(errc::corrupt,
                             fmt::format("the DR site's verify_result is about {} bytes at {} of "
                                         "volume {} at barrier {}, which "
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
    return true;
}

void verify_questions::forget_through(interval_id barrier) {
    forgotten_ = std::max(forgotten_, barrier.value);
    open_.erase(open_.begin(), open_.upper_bound(barrier.value));
}

verify_run::verify_run(std::vector<std::uint64_t> sizes) : sizes_(std::move(sizes)) {
    for (const std::uint64_t size : sizes_) {
        total_bytes_ += size;
    }
}

// The walk goes from its beginning to the last volume's end.
verify_run::verify_run(std::vector<std::uint64_t> sizes, const pending_range &part)
    : sizes_(std::move(sizes)), walk_volume_(part.volume.value), walk_offset_(part.range.offset),
      total_bytes_(part.range.length) {
    sizes_.resize(std::size_t{part.volume.value} + 1);
    sizes_.back() = std::min(sizes_.back(), part.range.end());
}

bool verify_run::is_hole(const pending_range &r) { return r.range.length > coarse_bytes; }

std::optional<pending_range> verify_run::wants_data() const {
    if (!again_.empty() || walk_data_ || walk_volume_ >= sizes_.size()) {
        return std::nullopt;
    }
    return pending_range{volume_index{walk_volume_}, {walk_offset_, 0}};
}

void verify_run::data_is(byte_range data) { walk_data_ = data; }

// A hole, if it is longer than a piece, else a piece; pieces end soon after the data does.
pending_range verify_run::next_piece() {
    const std::uint64_t size = sizes_[walk_volume_];
    const byte_range data = *walk_data_;
    const std::uint64_t hole_end =
        data.length == 0 ? size : std::min(size, data.offset / block_bytes * block_bytes);
    std::uint64_t end = std::min(hole_end, walk_offset_ + limits::verify_hole_bytes_max);
    if (hole_end < walk_offset_ + coarse_bytes + block_bytes) {
        const std::uint64_t data_end =
            data.length == 0 ? size : ceil_div(data.end(), region_bytes) * region_bytes;
        end = std::min(
            {size, walk_offset_ + coarse_bytes, std::max(data_end, walk_offset_ + block_bytes)});
    }
    const pending_range piece{volume_index{walk_volume_}, {walk_offset_, end - walk_offset_}};
    walk_offset_ = end;
    if (end >= size) {
        ++walk_volume_;
        walk_offset_ = 0;
        walk_data_.reset();
    } else if (data.length != 0 && end >= data.end()) {
        walk_data_.reset();
    }
    return piece;
}

std::vector<pending_range> verify_run::take(std::size_t max, std::uint64_t bytes_max) {
    std::vector<pending_range> out;
    std::uint64_t bytes = 0;
    const auto add = [&](const pending_range &r) {
        out.push_back(r);
        bytes += is_hole(r) ? 0 : r.range.length;
    };
    while (out.size() < max && bytes < bytes_max && !again_.empty()) {
        add(again_.front());
        again_.pop_front();
    }
    while (out.size() < max && bytes < bytes_max && walk_volume_ < sizes_.size() && walk_data_) {
        add(next_piece());
    }
    taken_.insert(taken_.end(), out.begin(), out.end());
    return out;
}

void verify_run::look_at_parts(const pending_range &r) {
    constexpr std::uint64_t parts = 16;
    const std::uint64_t unit = r.range.length > coarse_bytes
                                   ? ceil_div(r.range.length, parts * coarse_bytes) * coarse_bytes
                               : r.range.length > region_bytes ? region_bytes
                                                               : block_bytes;
    for (std::uint64_t offset = r.range.offset; offset < r.range.end(); offset += unit) {
        again_.push_back({r.volume, {offset, std::min(unit, r.range.end() - offset)}});
    }
}

void verify_run::no_hole(const pending_range &r) {
    std::erase_if(
        taken_, [&](const pending_range &t) { return t.volume == r.volume && t.range == r.range; });
    look_at_parts(r);
}

void verify_run::on_cut(interval_id id, const std::vector<verify_entry> &kept) {
    if (kept.empty()) {
        return;
    }
    for (const verify_entry &e : kept) {
        std::erase_if(taken_, [&](const pending_range &t) {
            return t.volume == e.volume && t.range == e.range;
        });
    }
    in_flight_[id.value] = kept.size();
    last_barrier_ = id;
}

void verify_run::put_back_touched() {
    for (const pending_range &t : taken_) {
        const std::uint64_t half =
            t.range.length > block_bytes
                ? std::max<std::uint64_t>(block_bytes,
                                          t.range.length / 2 / block_bytes * block_bytes)
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
        const pending_range where{volume_index{static_cast<std::uint16_t>(item.volume)},
                                  {item.offset, item.length}};
        if (item.equal) {
            done_bytes_ += item.length;
        } else if (item.length <= block_bytes) {
            different_.push_back(where);
            done_bytes_ += item.length;
        } else {
            if (!item.unseen || !is_hole(where)) {
                coarse_.push_back(where);
            }
            look_at_parts(where);
        }
        at->second -= at->second > 0 ? 1 : 0;
    }
    if (at->second == 0) {
        in_flight_.erase(at);
    }
}

std::vector<pending_range> verify_run::to_heal() const {
    std::vector<pending_range> all = differences();
    if (!done()) {
        all.insert(all.end(), coarse_.begin(), coarse_.end());
    }
    return all;
}

void verify_run::note_damage(std::uint64_t count, std::uint64_t known) {
    damage_through_ = count == std::max(known, damage_through_) + 1 ? count : damage_through_;
}

bool verify_run::done() const {
    return again_.empty() && taken_.empty() && in_flight_.empty() && walk_volume_ >= sizes_.size();
}

std::vector<pending_range> verify_run::differences() const {
    std::vector<pending_range> sorted = different_;
    std::ranges::sort(sorted, {},
                      [](const pending_range &p) { return std::pair(p.volume, p.range.offset); });
    std::vector<pending_range> merged;
    for (const pending_range &p : sorted) {
        if (!merged.empty() && merged.back().volume == p.volume &&
            merged.back().range.end() == p.range.offset) {
            merged.back().range.length += p.range.length;
        } else {
            merged.push_back(p);
        }
    }
    return merged;
}

} // namespace farshore
