#pragma once
// How a daemon's `memory` setting is divided: a part for what peers and clients can make it hold,
// then an equal share a group, and within a share fixed parts for each stage, so that the sum can't
// pass the setting whatever the load (fixed costs come on top: code, stacks, idle clients and
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

struct sender_memory {
    std::uint64_t open_bytes_max;   ///< the open interval, old content included; beyond: tracking
    std::uint64_t interval_bytes;   ///< early close
    std::uint64_t closed_bytes_max; ///< closed and being encoded, with the encoder's output
    std::uint64_t spool_bytes_max;  ///< encoded, in memory
    std::uint64_t index_bytes;      ///< the encoder's index of places to refer to
    std::uint64_t content_bytes;    ///< contents of such places
};
constexpr sender_memory sender_memory_of(std::uint64_t memory_bytes_max, std::size_t groups,
                                         std::optional<std::uint64_t> history_bytes = {}) {
    const std::uint64_t share = memory_bytes_max / std::max<std::size_t>(groups, 1);
    sender_memory m{};
    const std::uint64_t history = std::min(history_bytes.value_or(share / 16 * 3), share / 2);
    m.index_bytes = history / 3 * 2;
    m.content_bytes = history / 3;
    const std::uint64_t rest = share - history;
    m.open_bytes_max = rest / 7 * 2;
    m.interval_bytes = std::clamp<std::uint64_t>(rest / 21, limits::MiB, 16 * limits::MiB);
    m.closed_bytes_max = rest / 7 * 2;
    m.spool_bytes_max = rest / 7;
    return m;
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
