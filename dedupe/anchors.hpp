#pragma once
// Content-defined sampling: places in a run of bytes that are chosen by the bytes themselves, so
// that the same content is sampled at the same places wherever it stands, aligned or not.
//
// A rolling hash of anchor_window bytes (gear: shift and add a random number a byte; here the shift
// is eight bits, so a byte leaves after 8); a place is an anchor when the top bits of the hash are
// zero. Gear: Xia et al., "Ddelta" (2014) and FastCDC (2016); sampling by content: Manber (1994).

#include "replicator/base/bytes.hpp"

#include <cstdint>
#include <vector>

namespace farshore::dedupe {

constexpr std::size_t anchor_window = 8;
/// One place in 32: a match of 120 bytes is found 19 times in 20. Twice as dense saved 1 % of the
/// bytes of an OLTP trace for twice the time (docs/decisions/0005).
constexpr unsigned anchor_bits = 5;

struct anchor {
    std::uint32_t at = 0;  ///< offset of the window's first byte
    std::uint64_t key = 0; ///< well mixed
};

/// Appends the anchors of `bytes`, in order. Offsets are relative to `bytes`, plus `offset`.
void find_anchors(bytes_view bytes, std::uint32_t offset, std::vector<anchor> &out);

/// Whether a block looks like encrypted or compressed data, by a sample of its bytes: trying to
/// find anything in it is not worth the time.
bool looks_random(bytes_view block);

} // namespace farshore::dedupe
