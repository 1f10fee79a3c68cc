#pragma once
// What is compared and shipped when one site follows another: the blocks that either of them
// changed since a barrier from which both can count, and everything when there is none. Pure.
//
// A site can count from the barrier that it knows both to have held (`common`: its dirty map began
// there), and from older ones whose history it keeps, as long as that history leads up to `common`.
// No position says how far a site is: one that was put back to a snapshot has barriers of its own
// beyond it. Only a barrier that both name is evidence.

#include "replicator/format/position.hpp"

#include <cstddef>
#include <optional>
#include <vector>

namespace farshore {

/// Barriers of one stream that a history goes back to, all from the first to the last.
struct barrier_stretch {
    stream_id stream;
    interval_id first;
    interval_id last; ///< not below `first`
    bool operator==(const barrier_stretch &) const = default;
};

/// In a message; older ones are left out, and count as forgotten.
constexpr std::size_t stretches_max = 1024;

/// From which barriers a site can say what it changed since.
struct counting_claim {
    stream_position common;
    /// Oldest first, ids growing. Nothing of it counts unless its last barrier is `common`.
    std::vector<barrier_stretch> history;
};

/// The newest barrier from which both can count. Ids never go back, over all streams of a group.
/// Nothing: everything is compared.
std::optional<stream_position> counted_from(const counting_claim &serving,
                                            const counting_claim &following);

} // namespace farshore
