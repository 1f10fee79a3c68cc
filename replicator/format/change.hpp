#pragma once
// One block's change within an interval: what capture hands to the encoder and the decoder hands to
// apply.

#include "replicator/base/bytes.hpp"
#include "replicator/base/types.hpp"

namespace farshore {

enum class change_kind : std::uint8_t {
    data, ///< the block becomes `content`
    zero, ///< `count` blocks become zero
};

/// Sorted by (volume, block) and free of overlaps within an interval.
struct block_change {
    volume_index volume;
    block_index block;
    change_kind kind = change_kind::data;
    std::uint64_t count = 1; ///< blocks; 1 for data
    bytes_view content; ///< 4096 bytes for data (zero-padded past the volume's end); empty for zero
    bytes_view
        before; ///< the block's content at the previous barrier, 4096 bytes, or empty if unknown
};

} // namespace farshore
