#pragma once
// Content-defined sampling: places in a run of bytes that are chosen by the bytes themselves, so
// that the same content is sampled at the same places wherever it stands, aligned or not.
//
// The anchor_window bytes at each place, as one number, are multiplied by a constant; a place is an
// anchor when the top bits of the product are zero (multiplicative hashing: Knuth, TAOCP 6.4;
// sampling by content: Manber, 1994). More top bits: fewer anchors, all of them among those of
// fewer bits.

#include "replicator/base/bytes.hpp"

#include <cstdint>
#include <vector>

namespace farshore::dedupe {

constexpr std::size_t anchor_window = 8;
/// One place in 32: a match of 120 bytes is found 19 times in 20. Twice as dense saved 1 % of the
/// bytes of an OLTP trace for twice the time (docs/decisions/0005).
constexpr unsigned anchor_bits = 5;
/// One place in 512, for what is found in long pieces or not at all (docs/decisions/0013).
constexpr unsigned sparse_anchor_bits = 9;

struct anchor {
    std::uint32_t at = 0;  ///< offset of the window's first byte
    std::uint64_t key = 0; ///< well mixed
};

/// Appends the anchors of `bytes`, in order. Offsets are relative to `bytes`, plus `offset`.
/// `bits`: 1..63; one place in 2^bits.
void find_anchors(bytes_view bytes, std::uint32_t offset, unsigned bits, std::vector<anchor> &out);

/// Whether a block looks like encrypted or compressed data, by a sample of its bytes: what it
/// shares with others it shares in long pieces, and its own bytes do not compress.
bool looks_random(bytes_view block);

} // namespace farshore::dedupe
