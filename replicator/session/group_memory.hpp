#pragma once
// How a daemon's `memory` setting is divided: a part for what peers and clients can make it hold;
// at the sender, places to refer to, an equal share a group; and one pool for intervals
// (session/memory_pool.hpp), of which each group's grant has fixed parts for each stage. So the sum
// can't pass the setting whatever the load (fixed costs come on top: code, stacks, idle clients and
// links, idle maps; below 64 MiB).
//
// Rule: what somebody outside can make a daemon hold is counted here in allocated bytes, or has a
// named limit whose worst case stands in the fixed 64 MiB.

#include "replicator/base/limits.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace farshore {

/// For the account of clients and peers (base/memory_account.hpp): requests and replies of all NBD
/// connections.
constexpr std::uint64_t client_bytes_of(std::uint64_t memory_bytes_max) {
    return std::min<std::uint64_t>(memory_bytes_max / 8, 256 * limits::MiB);
}

/// Below it a daemon can't serve so many groups: each needs what its slowest writer needs to keep
/// the order beside busy ones (memory_pool::floor_min), and as much again to share.
constexpr std::uint64_t memory_min = 16 * limits::MiB;
constexpr std::uint64_t memory_of_group_min = 3 * limits::MiB;
/// Set aside for each volume beyond those that the fixed 64 MiB have room for: its thread, idle
/// map, descriptors, and four clients with a small request each (nbd::places_for()).
constexpr std::size_t volumes_in_fixed = 256;
constexpr std::uint64_t memory_of_volume = 128 * limits::KiB;
constexpr std::uint64_t volumes_bytes_of(std::size_t volumes) {
    return volumes > volumes_in_fixed ? (volumes - volumes_in_fixed) * memory_of_volume : 0;
}
constexpr std::uint64_t memory_min_of(std::size_t groups, std::size_t volumes) {
    return std::max<std::uint64_t>(memory_min,
                                   memory_of_group_min * groups + volumes_bytes_of(volumes));
}

/// Of one group at the sender: places to refer to. Touched only as they are used.
struct history_memory {
    std::uint64_t index_bytes;   ///< the encoder's index of them
    std::uint64_t content_bytes; ///< contents
    constexpr std::uint64_t sum() const { return index_bytes + content_bytes; }
};
constexpr history_memory history_memory_of(std::uint64_t memory_bytes_max, std::size_t groups,
                                           std::optional<std::uint64_t> history_bytes = {}) {
    const std::uint64_t share = memory_bytes_max / std::max<std::size_t>(groups, 1);
    const std::uint64_t history = std::min(history_bytes.value_or(share / 16 * 3), share / 2);
    return {history / 3 * 2, history / 3};
}

/// What the stages of a group may hold by its grant.
struct stage_memory {
    std::uint64_t open_bytes_max;   ///< the open interval, old content included; beyond: tracking
    std::uint64_t interval_bytes;   ///< early close
    std::uint64_t closed_bytes_max; ///< closed and being encoded, with the encoder's output
    std::uint64_t spool_bytes_max;  ///< encoded, in memory
};
constexpr std::uint64_t interval_bytes_max = 16 * limits::MiB; ///< early close, at any grant

/// Of a small grant a larger part, so that a chunk of pages fits (capture/page_arena.hpp).
constexpr std::uint64_t open_bytes_of(std::uint64_t grant) {
    return std::max(grant / 7 * 2, std::min(grant / 8 * 3, limits::MiB));
}
/// A chunk and the index of its blocks: who needs no more does not ask.
constexpr std::uint64_t open_bytes_little = 280 * limits::KiB;
/// An interval is closed at a sixth of its memory: a third of it is used then, if all old content
/// was kept, and writers go on while the ones before are encoded.
constexpr stage_memory stage_memory_of(std::uint64_t grant) {
    const std::uint64_t open = open_bytes_of(grant);
    return {open, std::min(open / 6, interval_bytes_max), grant / 7 * 2, grant / 7};
}
/// The grant that an open interval of so many bytes needs.
constexpr std::uint64_t grant_for_open(std::uint64_t open_bytes) { return open_bytes / 2 * 7 + 28; }
/// The grant that covers what stages hold.
constexpr std::uint64_t grant_for_use(std::uint64_t open_bytes, std::uint64_t closed_bytes,
                                      std::uint64_t spool_bytes) {
    const std::uint64_t sum = open_bytes + closed_bytes + spool_bytes;
    return std::max(grant_for_open(open_bytes), sum + sum / 4);
}

/// Of the index that all groups share (pair_index), when there are several: 1/32, for 8 GiB of
/// blocks at the default of 512 MiB.
constexpr std::uint64_t pair_index_bytes_of(std::uint64_t memory_bytes_max) {
    return std::min<std::uint64_t>(memory_bytes_max / 32, 64 * limits::MiB);
}

struct receiver_memory {
    std::uint64_t window_bytes; ///< frames received and not yet journaled
    /// Decoded content of one apply batch (counted about three times over), and half as much of
    /// what it is rebuilt from.
    std::uint64_t batch_bytes;
};
constexpr receiver_memory receiver_memory_of(std::uint64_t memory_bytes_max, std::size_t groups) {
    const std::uint64_t share = memory_bytes_max / std::max<std::size_t>(groups, 1);
    receiver_memory m{};
    m.window_bytes =
        std::clamp<std::uint64_t>(share / 8, 2 * limits::MiB, limits::window_bytes_max);
    m.batch_bytes = std::clamp<std::uint64_t>(share / 12, 4 * limits::MiB, 64 * limits::MiB);
    return m;
}

} // namespace farshore
