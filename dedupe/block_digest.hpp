#pragma once
// The digest that a rebuilt block is checked with: XXH3-128 of its content, mixed with its position
// so that content at a wrong place is found too. Against accidents and bugs, not against an
// adversary; never used to decide that two blocks are the same. Part of the payload format.

#include "replicator/base/hash.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/endian.hpp"

#include <span>

namespace farshore::dedupe {

/// The position goes in by exclusive or instead of as XXH3's seed, which would double the time of
/// the hash (a seed makes XXH3 derive a new secret a call). Multiplying by an odd number and
/// folding keeps different positions of a group apart in the low 32 bits but for chance.
inline checksum128 block_digest(volume_index volume, block_index block,
                                const checksum128 &content) {
    const std::uint64_t position = (std::uint64_t{volume.value} << 48) + block.value + 1;
    std::uint64_t mixed = position * 0x9E3779B97F4A7C15ULL;
    mixed ^= mixed >> 32;
    return {content.low ^ mixed, content.high};
}
inline checksum128 block_digest(volume_index volume, block_index block, bytes_view content) {
    return block_digest(volume, block, checksum_128(content));
}

/// As it stands in the input of the payload's digests.
struct wire_digest {
    le64 low;
    le64 high;
};
static_assert(sizeof(wire_digest) == 16);
inline wire_digest to_wire(const checksum128 &digest) { return {digest.low, digest.high}; }

/// What a payload carries for a run of neighbouring data blocks.
inline std::uint32_t short_digest(std::span<const wire_digest> run) {
    return static_cast<std::uint32_t>(checksum64(std::as_bytes(run)));
}

} // namespace farshore::dedupe
