#pragma once
// First bytes of every segment file of the interval log and of the undo log, and the names of these
// files. docs/formats-log.md "Segment".
//
// Header, 64 bytes, little-endian:
//   off size name             meaning, valid range
//     0    4 magic            "FSS1"
//     4    2 version          1; any other is refused (errc::unsupported)
//     6    1 kind             1 interval log, 2 undo log (history or rollback)
//     7    1 flags            zero
//     8    8 number           as in the file's name, >= 1
//    16    8 previous_bytes   how much of segment number - 1 counts, its header included; what lies
//                             behind is left over from a failed write. 0: there was none before
//    24   32 reserved         zero
//    56    8 header_checksum  XXH3-64 of bytes 0..55
// A torn header means that the segment was never used: the one before is synced before a new one is
// begun, and the directory afterwards.
// History: version 1, first.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace farshore {

constexpr std::size_t segment_header_bytes = 64;
constexpr std::uint64_t segment_number_max =
    (1ULL << 31) - 1; ///< a file with a higher one is not ours

enum class segment_kind : std::uint8_t { intervals = 1, undo = 2 };

struct segment_header {
    segment_kind kind = segment_kind::intervals;
    std::uint64_t number = 1;
    std::uint64_t previous_bytes = 0;
    bool operator==(const segment_header &) const = default;
};

byte_vector encode_segment_header(const segment_header &header);
/// The first segment_header_bytes of `bytes`. errc::corrupt, errc::unsupported.
result<segment_header> parse_segment_header(bytes_view bytes);

/// "0000000001.seg"
std::string segment_name(std::uint64_t number);
/// The number of a name that segment_name() could have made.
std::optional<std::uint64_t> parse_segment_name(std::string_view name);

} // namespace farshore
