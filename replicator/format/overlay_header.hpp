#pragma once
// First block of the map of one volume's overlay (replica/point_overlay.hpp): what was written to a
// point that is open for writing. Bits follow it, one for each block of 4096 bytes: bit b % 8 of
// byte 4096 + b / 8 says that block b stands in the overlay. docs/formats-log.md "Overlays".
//
// Little-endian:
//   off size name          meaning, valid range
//     0    4 magic         "FSO1"
//     4    2 version       1; any other is refused (errc::unsupported)
//     6    2 reserved      zero
//     8    8 point         id of the point below, at least 1
//    16    8 volume_bytes  size of the volume, at most 1 PiB
//    24    8 checksum      XXH3-64 of bytes 0..23
// The rest of the block is zero.
// History: version 1, first.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/types.hpp"

namespace farshore {

constexpr std::size_t overlay_header_bytes = block_bytes;

struct overlay_header {
    interval_id point;
    std::uint64_t volume_bytes = 0;
    bool operator==(const overlay_header &) const = default;
};

/// overlay_header_bytes long.
byte_vector encode_overlay_header(const overlay_header &header);
/// errc::corrupt, errc::unsupported.
result<overlay_header> parse_overlay_header(bytes_view bytes);

} // namespace farshore
