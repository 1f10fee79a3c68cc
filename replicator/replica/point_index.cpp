#include "replicator/replica/point_index.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/format/undo_record.hpp"

#include <algorithm>

namespace farshore {
namespace {

constexpr unsigned volume_shift = 48; // volume_bytes_max has 2^38 blocks
constexpr std::size_t late_min = 4096;
constexpr std::uint64_t segment_max = UINT32_MAX >> 1;

std::uint64_t key_of(volume_index volume, std::uint64_t block) {
    return std::uint64_t{volume.value} << volume_shift | block;
}

} // namespace

/// The first node that ends after `key`.
const point_index::node *point_index::next(std::uint64_t key) const {
    const auto ends_after = [&](const node &n) { return end_of(n) <= key; };
    const auto old_at = std::ranges::partition_point(old_, ends_after);
    const node *best = old_at == old_.end() ? nullptr : &*old_at;
    auto late_at = late_.upper_bound(key);
    if (late_at != late_.begin() && end_of(std::prev(late_at)->second) > key) {
        --late_at;
    }
    if (late_at != late_.end() && (best == nullptr || late_at->first < best->key)) {
        best = &late_at->second;
    }
    return best;
}

void point_index::add(const node &n) {
    auto at = late_.upper_bound(n.key);
    if (at != late_.begin()) {
        node &before = std::prev(at)->second;
        const bool zeroes = before.contents == 0 && n.contents == 0;
        const bool follows =
            before.contents != 0 && before.segment == n.segment && before.rollback == n.rollback &&
            before.contents + before.count * block_bytes == n.contents &&
            before.entries + std::uint64_t{before.count} * undo_entry_bytes == n.entries;
        if (end_of(before) == n.key && (zeroes || follows) &&
            before.count <= UINT32_MAX - n.count) {
            before.count += n.count;
            return;
        }
    }
    late_.emplace_hint(at, n.key, n);
}

void point_index::insert(const indexed_run &run) {
    REPL_ASSERT(run.segment <= segment_max);
    std::uint64_t at = key_of(run.volume, run.block);
    const std::uint64_t start = at;
    const std::uint64_t end = at + run.count;
    while (at < end) {
        const node *taken = next(at);
        const std::uint64_t free_to = taken == nullptr ? end : std::min(end, taken->key);
        const std::uint64_t skip_to = taken == nullptr ? end : end_of(*taken);
        while (at < free_to) {
            node n{};
            n.key = at;
            n.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(free_to - at, UINT32_MAX));
            if (!run.zero) {
                n.segment = static_cast<std::uint32_t>(run.segment) & segment_max;
                n.rollback = run.rollback ? 1 : 0;
                n.contents = run.contents + (at - start) * block_bytes;
                n.entries = run.entries + (at - start) * undo_entry_bytes;
            }
            add(n);
            at += n.count;
        }
        at = std::max(at, std::min(skip_to, end));
    }
    if (late_.size() > late_min + old_.size() / 4) {
        merge();
    }
}

void point_index::merge() {
    std::vector<node> all;
    all.reserve(old_.size() + late_.size());
    auto late_at = late_.begin();
    for (const node &n : old_) {
        for (; late_at != late_.end() && late_at->first < n.key; ++late_at) {
            all.push_back(late_at->second);
        }
        all.push_back(n);
    }
    for (; late_at != late_.end(); ++late_at) {
        all.push_back(late_at->second);
    }
    old_ = std::move(all);
    late_.clear();
}

bool point_index::none(volume_index volume, std::uint64_t block, std::uint64_t count) const {
    const std::uint64_t at = key_of(volume, block);
    const node *n = next(at);
    return n == nullptr || n->key >= at + count;
}

std::vector<indexed_run> point_index::find(volume_index volume, std::uint64_t block,
                                           std::uint64_t count) const {
    std::vector<indexed_run> found;
    const std::uint64_t base = key_of(volume, 0);
    std::uint64_t at = base + block;
    const std::uint64_t end = at + count;
    while (at < end) {
        const node *n = next(at);
        if (n == nullptr || n->key >= end) {
            break;
        }
        const std::uint64_t from = std::max(at, n->key);
        const std::uint64_t to = std::min(end, end_of(*n));
        indexed_run run;
        run.volume = volume;
        run.block = from - base;
        run.count = to - from;
        run.zero = n->contents == 0;
        if (!run.zero) {
            run.rollback = n->rollback != 0;
            run.segment = n->segment;
            run.contents = n->contents + (from - n->key) * block_bytes;
            run.entries = n->entries + (from - n->key) * undo_entry_bytes;
        }
        found.push_back(run);
        at = to;
    }
    return found;
}

} // namespace farshore
