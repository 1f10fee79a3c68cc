#pragma once
// The frame: the one unit of the interval log, which is the sender's spool, the wire's content and
// the receiver's journal. An interval is its data frames with index 0..n-1 and then one barrier
// frame with index n. docs/formats-log.md "Frame".
//
// Byte tables of the barrier payload and its verify ranges: docs/formats.md.
//
// Header, 64 bytes, little-endian:
//   off size name             meaning, valid range
//     0    4 magic            "FSF1"
//     4    2 version          1; any other is refused (errc::unsupported)
//     6    1 type             1 data, 2 barrier
//     7    1 flags            zero (bits 0-3 required features, unknown: refused; 4-7 optional, ignored)
//     8    4 payload_bytes    <= limits::frame_payload_bytes_max
//    12    4 raw_bytes        bytes of block content it stands for, <= limits::frame_raw_bytes_max
//    16    8 stream           random, not 0
//    24    8 interval         1 .. 2^63-1
//    32    4 index            <= limits::frames_per_interval_max
//    36    4 blocks           changes in a data frame; 0 in a barrier frame
//    40    8 payload_checksum XXH3-64 of the payload
//    48    8 arrival          in a barrier frame of the receiver's journal: when it came, by the receiver's clock, ns
//                            since 1970; else zero, and what comes over the wire with anything else is refused
//    56    8 header_checksum  XXH3-64 of bytes 0..55
// Checksums are against accidents (torn writes, bad memory, disk rot); on the wire TLS guards
// against adversaries. A torn frame fails one of the checksums or is short: the log ends before it.
// History: version 1, first; the arrival was reserved and zero, which reads as "not known".

#include "replicator/base/bytes.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/point_label.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace farshore {

constexpr std::size_t frame_header_bytes = 64;

enum class frame_type : std::uint8_t { data = 1, barrier = 2 };

struct frame_header {
    frame_type type = frame_type::data;
    std::uint32_t payload_bytes = 0;
    std::uint32_t raw_bytes = 0;
    stream_id stream;
    interval_id interval;
    std::uint32_t index = 0;
    std::uint32_t blocks = 0;
    std::uint64_t payload_checksum = 0;
    wall_time arrival{}; ///< 1970: not known
    bool operator==(const frame_header &) const = default;
};

/// Header and payload in one buffer, checksums set. `header.payload_bytes` and `payload_checksum`
/// are computed from the payload.
buffer make_frame(frame_header header, bytes_view payload);
/// A copy of a barrier frame that says when it arrived.
buffer with_arrival(bytes_view frame, wall_time arrival);
/// The header alone; the first frame_header_bytes of `bytes` are looked at. errc::corrupt (too
/// short, magic, checksum, reserved bits, range), errc::unsupported (version, required flag).
result<frame_header> parse_frame_header(bytes_view bytes);
/// A whole frame; the payload is a view into `frame`. `frame` must be exactly one frame.
struct parsed_frame {
    frame_header header;
    bytes_view payload;
};
result<parsed_frame> parse_frame(bytes_view frame);

// Barrier payload, 64 bytes, the verify ranges, the label:
//   off size name             meaning, valid range
//     0    2 version          1; any other is refused (errc::unsupported)
//     2    2 flags            1 consistent, 2 requested, 4 labelled; others refused
//     4    4 data_frames      the barrier frame's index
//     8    8 time             of the cut, ns since 1970, to the end of 2199
//    16    8 blocks           sum over the data frames
//    24    8 written_bytes    what clients wrote, before folding
//    32    8 heals            < 2^63
//    40    8 frames_checksum  low half of XXH3-128 over their payload checksums in order
//    48    4 verify_count     <= verify_entries_max
//    52    4 label_bytes      of the label behind the verify ranges (format/point_label.hpp), with
//                             flag 4; else 0
//    56    8 reserved         zero
// Verify range, 32 bytes:
//     0    2 volume           index in the group
//     2    2 reserved         zero
//     4    4 length           bytes
//     8    8 offset           bytes
//    16   16 digest           keyed (dedupe/digest.hpp); zero: a hole

/// One range whose content at this barrier the receiver is asked to compare (verify): of at most 1
/// MiB, or, with the zero digest, of at most 2 GiB: a hole, which both sides know by their extents.
struct verify_entry {
    volume_index volume;
    byte_range range; ///< length <= 1 MiB
    std::array<std::byte, 16> digest{};
    bool operator==(const verify_entry &) const = default;
};
constexpr std::size_t verify_entries_max = 4096; ///< of one barrier

/// Payload of a barrier frame: the commit of its interval.
struct barrier {
    wall_time time{}; ///< when the cut was made, at the primary; 1970 .. 2199
    /// The whole group is at this cut once the interval is applied: a point. False: in the middle
    /// of a catch-up.
    bool consistent = false;
    bool requested = false; ///< cut by `wait`, not by time or size
    std::uint32_t data_frames = 0;
    std::uint64_t blocks = 0;
    std::uint64_t written_bytes = 0; ///< what clients wrote in it, before folding
    std::uint64_t heals = 0; ///< damage count of the receiver that the stream's catch-up repairs
    std::uint64_t frames_checksum = 0;
    std::vector<verify_entry> verify;
    std::optional<point_label> label; ///< it is a bookmark; only with `consistent`
    bool operator==(const barrier &) const = default;
};
byte_vector encode_barrier(const barrier &b);
result<barrier> parse_barrier(bytes_view payload);

} // namespace farshore
