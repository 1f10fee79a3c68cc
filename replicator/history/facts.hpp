#pragma once
// Facts of a history before they are packed: put in order, runs of zero cut so that they are either
// the same blocks or have none in common, and thinned to what the points that are kept need. Pure.

#include "replicator/base/types.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace farshore {

/// Before `interval`, these blocks held this.
struct packed_fact {
    std::uint64_t key = 0;   ///< packed_key() of the first block
    std::uint64_t count = 1; ///< blocks; more than one: zero
    interval_id interval;
    std::uint32_t source = 0; ///< the caller's: where its content is; grows in the order of the log
    bool zero = false;
    bool led = false;       ///< merged from a row that led to the block's next version
    std::uint8_t depth = 0; ///< merged: of that row
    bool operator==(const packed_fact &) const = default;
};

/// Sorted by key, then interval; what overlaps has the same key and count. Of facts of one block
/// and one interval the first of the log counts. Neighbouring runs of zero that have nothing else
/// are one again.
std::vector<packed_fact> disjoint_facts(std::vector<packed_fact> facts);

/// Of facts of the same blocks, in order: the oldest of each window between two of `bounds`
/// (sorted: a bound ends the window that it is in), and of zero after zero only the later one, for
/// the content is the same.
std::vector<packed_fact> thinned(std::span<const packed_fact> group,
                                 std::span<const interval_id> bounds);

} // namespace farshore
