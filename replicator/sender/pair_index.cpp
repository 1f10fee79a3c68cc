#include "replicator/sender/pair_index.hpp"

#include "replicator/base/geometry.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace farshore {
namespace {
constexpr std::size_t places_max = 4; ///< of one content that are looked at
} // namespace

std::size_t pair_index::add_group(std::string name,
                                  const std::vector<std::uint64_t> &volume_blocks) {
    const std::lock_guard lock(mutex_);
    const std::size_t group = groups_.size();
    groups_.push_back({std::move(name), {}});
    for (std::size_t i = 0; i < volume_blocks.size(); ++i) {
        extents_.push_back(
            {end_, volume_blocks[i], group, volume_index{static_cast<std::uint16_t>(i)}});
        end_ += volume_blocks[i];
    }
    return group;
}

void pair_index::set_peer(std::size_t group, std::optional<pinned_peer> peer) {
    const std::lock_guard lock(mutex_);
    groups_[group].peer = std::move(peer);
}

std::string pair_index::name_of(std::size_t group) const {
    const std::lock_guard lock(mutex_);
    return groups_[group].name;
}

bool pair_index::same_pair(std::size_t a, std::size_t b) const {
    const auto &x = groups_[a].peer;
    const auto &y = groups_[b].peer;
    return x && y && x->fingerprint == y->fingerprint && x->address == y->address;
}

void pair_index::note(std::size_t group, volume_index volume, block_index block,
                      std::uint64_t key) {
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find_if(
        extents_, [&](const extent &e) { return e.group == group && e.volume == volume; });
    if (at != extents_.end() && block.value < at->count &&
        (at->first + block.value) * block_bytes <= dedupe::reference_index::place_max) {
        index_.put(key, (at->first + block.value) * block_bytes);
    }
}

std::optional<pair_index::place> pair_index::find_elsewhere(std::size_t group,
                                                            std::uint64_t key) const {
    const std::lock_guard lock(mutex_);
    std::array<std::uint64_t, places_max> found{};
    const std::size_t count = index_.find(key, found);
    for (const std::uint64_t address : std::span(found).first(count)) {
        const std::uint64_t block = address / block_bytes;
        const auto after = std::ranges::upper_bound(extents_, block, {}, &extent::first);
        if (after == extents_.begin()) {
            continue;
        }
        const extent &e = *std::prev(after);
        if (e.group != group && block - e.first < e.count && same_pair(group, e.group)) {
            return place{e.group, e.volume, block_index{block - e.first}};
        }
    }
    return std::nullopt;
}

} // namespace farshore
