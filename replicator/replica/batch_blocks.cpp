#include "replicator/replica/batch_blocks.hpp"

#include "replicator/base/geometry.hpp"

#include <algorithm>

namespace farshore {
namespace {

constexpr unsigned volume_shift = 48;
constexpr std::uint64_t block_mask = (1ULL << volume_shift) - 1;

std::uint64_t key_of(volume_index volume, std::uint64_t block) {
    return std::uint64_t{volume.value} << volume_shift | block;
}

const std::byte *advance(const std::byte *content, std::uint64_t blocks) {
    return content == nullptr ? nullptr : content + blocks * block_bytes;
}

} // namespace

/// Removes [from, to), cutting nodes at its edges.
void overlay::carve(std::uint64_t from, std::uint64_t to) {
    auto at = nodes_.lower_bound(from);
    if (at != nodes_.begin()) {
        const auto before = std::prev(at);
        const std::uint64_t end = before->first + before->second.count;
        if (end > from) {
            const node rest{end - std::min(end, to),
                            advance(before->second.content, to - before->first)};
            before->second.count = from - before->first;
            if (rest.count > 0) {
                nodes_.emplace_hint(at, to, rest);
                return;
            }
        }
    }
    while (at != nodes_.end() && at->first < to) {
        const std::uint64_t end = at->first + at->second.count;
        if (end > to) {
            const node rest{end - to, advance(at->second.content, to - at->first)};
            at = nodes_.erase(at);
            nodes_.emplace_hint(at, to, rest);
            return;
        }
        at = nodes_.erase(at);
    }
}

void overlay::put(const overlay_run &run) {
    const std::uint64_t key = key_of(run.volume, run.block);
    carve(key, key + run.count);
    auto at = nodes_.lower_bound(key);
    if (at != nodes_.begin()) {
        const auto before = std::prev(at);
        if (before->first + before->second.count == key &&
            (before->first >> volume_shift) == run.volume.value &&
            (before->second.content == nullptr) == (run.content == nullptr) &&
            advance(before->second.content, before->second.count) == run.content) {
            before->second.count += run.count;
            return;
        }
    }
    nodes_.emplace_hint(at, key, node{run.count, run.content});
}

void overlay::put_all(const overlay &later) {
    for (const overlay_run &run : later.runs()) {
        put(run);
    }
}

std::vector<overlay_run> overlay::find(volume_index volume, std::uint64_t block,
                                       std::uint64_t count) const {
    std::vector<overlay_run> found;
    const std::uint64_t from = key_of(volume, block);
    const std::uint64_t to = from + count;
    auto at = nodes_.upper_bound(from);
    if (at != nodes_.begin() && std::prev(at)->first + std::prev(at)->second.count > from) {
        --at;
    }
    for (; at != nodes_.end() && at->first < to; ++at) {
        const std::uint64_t first = std::max(from, at->first);
        const std::uint64_t last = std::min(to, at->first + at->second.count);
        found.push_back({volume, first & block_mask, last - first,
                         advance(at->second.content, first - at->first)});
    }
    return found;
}

std::vector<overlay_run> overlay::runs() const {
    std::vector<overlay_run> all;
    all.reserve(nodes_.size());
    for (const auto &[key, n] : nodes_) {
        all.push_back({volume_index{static_cast<std::uint16_t>(key >> volume_shift)},
                       key & block_mask, n.count, n.content});
    }
    return all;
}

} // namespace farshore
