#pragma once
// A packed stretch of a group's history: the facts of some neighbouring segments of undo/, or of
// stretches that were merged, in one file that is never changed. docs/formats-log.md "Packed
// stretches".
//
// A fact says for ever: before interval k, block b of volume v held c. A stretch has of each block
// the oldest fact of each window between two points that it lists, and so the oldest of all.
//
// The file, little-endian: a head of 64 bytes; units (contents, compressed, back to back); the unit
// table; pages of 4096 bytes with rows, sorted by volume, block and interval; the first key of each
// page; the filter; the points; the streams; the foot of 256 bytes.
//
// Head, 64 bytes:
//   off size name             meaning, valid range
//     0    4 magic            "FSP1"
//     4    2 version          1; any other is refused (errc::unsupported)
//     6    2 reserved         zero
//     8   16 identity         of the group
//    24   32 unused           zero
//    56    8 checksum         XXH3-64 of bytes 0..55
//
// Unit: up to packed_unit_bytes of contents (and what the last of them is longer), in the order of
// the rows. Entry of the unit table, 24 bytes:
//   off size name             meaning, valid range
//     0    8 offset           of the unit in the file
//     8    4 stored           bytes in the file, at least 1; equal to raw: not compressed
//    12    4 raw              bytes of content, at most packed_unit_raw_max
//    16    8 checksum         XXH3-64 of the stored bytes
//
// Page, header of 24 bytes:
//   off size name             meaning, valid range
//     0    8 checksum         XXH3-64 of bytes 8..4095
//     8    4 unit             where contents stand when the page begins: unit
//    12    4 offset           and byte in it
//    16    2 rows             at least 1
//    18    2 bytes            of rows behind this header; zero follows
//    20    4 reserved         zero
// Row, in its shortest form, the first of a page as if volume 0, block 0 were before it:
//     u8 flags                bits 0-1 kind: 0 zero, 1 full, 2 delta, 3 copy; 2-4 depth;
//                             5 its content begins the next unit; 6 the same block as the row
//                             before, which is one block; 7 of another volume than the row before
//     volume                  varint, with flag 7
//     block                   varint, without flag 6: from the end of the row before, else (flag 7)
//                             the block itself
//     count                   varint, blocks, at least 1; zero without flag 6 alone
//     interval                varint; from the row before with flag 6, else from first_interval
//     delta                   length, varint: of its content; then XXH3-64 of the block (8)
//     copy                    volume, varint; block, varint; XXH3-64 of the block (8)
// Content of a full row: the block. Of a delta: runs of new bytes over the next version of the same
// block, each varint skip, varint length, bytes. A copy is another block as of `moment`.
//
// First keys: 8 bytes a page, volume << 48 | block, and XXH3-64 of all of them.
// Filter: packed_filter.hpp.
// Point, 32 bytes:
//   off size name             meaning, valid range
//     0    8 id               in order
//     8    8 time             of its barrier, ns since 1970, signed
//    16    8 arrival          at the DR site, likewise; 0: not known
//    24    8 bytes            what of the file the window after it takes, about
// Stream, 16 bytes:
//   off size name             meaning, valid range
//     0    8 last             interval up to which, from the one before, intervals are of it
//     8    8 stream           random, not 0
// Points and streams are followed by XXH3-64 of both.
//
// Foot, 256 bytes:
//   off size name             meaning, valid range
//     0    4 magic            "FSPE"
//     4    2 version          1; any other is refused (errc::unsupported)
//     6    2 reserved         zero
//     8    8 first_segment    of undo/ that it stands for, at least 1
//    16    8 last_segment     likewise
//    24    8 first_interval   of its facts, at least 1
//    32    8 last_interval
//    40    8 moment           a point that deltas and copies may lead to; 0: none does
//    48    8 rows
//    56    8 leading_bytes    of the window before its first point
//    64    8 merges           how often it was merged; the higher one counts
//    72    8 undo_bytes       of the records that it stands for
//    80    8 units            entries of the unit table
//    88    8 units_offset     of the unit table
//    96    8 pages
//   104    8 pages_offset
//   112    8 keys_offset
//   120    8 filter_offset
//   128    8 filter_bytes
//   136    8 filter_checksum  XXH3-64
//   144    8 points
//   152    8 points_offset
//   160    8 streams
//   168   80 unused           zero
//   248    8 checksum         XXH3-64 of bytes 0..247
// The foot is written last: a file without one is torn. History: version 1, first.

#include "replicator/base/bytes.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace farshore {

constexpr std::size_t packed_head_bytes = 64;
constexpr std::size_t packed_foot_bytes = 256;
constexpr std::size_t packed_page_bytes = 4096;
constexpr std::size_t packed_page_header_bytes = 24;
constexpr std::size_t packed_row_bytes_max = 64;
constexpr std::size_t packed_unit_entry_bytes = 24;
constexpr std::size_t packed_point_bytes = 32;
constexpr std::size_t packed_stream_bytes = 16;
constexpr std::size_t packed_unit_bytes = 64 * 1024;
constexpr std::size_t packed_unit_raw_max = packed_unit_bytes + 4096;
constexpr std::uint64_t packed_rows_max = 1ULL << 32;
constexpr std::uint8_t packed_depth_max = 7; ///< deltas and copies that lead to one content

enum class packed_kind : std::uint8_t { zero = 0, full = 1, delta = 2, copy = 3 };

struct packed_row {
    volume_index volume;
    std::uint64_t block = 0;
    std::uint64_t count = 1; ///< blocks; more than one: zero
    interval_id interval;
    packed_kind kind = packed_kind::zero;
    std::uint8_t depth = 0; ///< how many others may have led here
    bool begins_unit = false;
    std::uint32_t unit = 0;   ///< of its content: full and delta
    std::uint32_t offset = 0; ///< in the unit
    std::uint32_t length = 0;
    std::uint64_t checksum = 0; ///< of the block: delta and copy
    volume_index from_volume;   ///< copy
    std::uint64_t from_block = 0;
    bool operator==(const packed_row &) const = default;
};

std::uint64_t packed_key(volume_index volume, std::uint64_t block);
volume_index packed_volume(std::uint64_t key);
std::uint64_t packed_block(std::uint64_t key);

/// Rows of one page, in order. `first_interval`: of the foot.
class packed_page_writer {
  public:
    explicit packed_page_writer(interval_id first_interval) : first_interval_(first_interval) {}
    bool empty() const { return rows_ == 0; }
    std::uint64_t first_key() const { return first_key_; }
    /// False: the page is full, and nothing was added. The first row of a page says where contents
    /// stand.
    bool add(const packed_row &row);
    /// The page; empty again afterwards.
    byte_vector take();

  private:
    interval_id first_interval_;
    byte_vector bytes_;
    std::uint16_t rows_ = 0;
    std::uint64_t first_key_ = 0;
    std::uint32_t unit_ = 0;
    std::uint32_t offset_ = 0;
    packed_row last_{};
};

/// All rows of a page. errc::corrupt.
result<std::vector<packed_row>> parse_packed_page(bytes_view page, interval_id first_interval);

struct packed_unit {
    std::uint64_t offset = 0;
    std::uint32_t stored = 0;
    std::uint32_t raw = 0;
    std::uint64_t checksum = 0;
    bool operator==(const packed_unit &) const = default;
};
void append_packed_unit(byte_vector &out, const packed_unit &unit);
/// The first entry of `bytes`. errc::corrupt: nothing that a unit can be.
result<packed_unit> parse_packed_unit(bytes_view bytes);

struct packed_point {
    interval_id id;
    wall_time time{};
    wall_time arrival{};
    std::uint64_t bytes = 0;
    bool operator==(const packed_point &) const = default;
};
struct packed_stream {
    interval_id last;
    stream_id stream;
    bool operator==(const packed_stream &) const = default;
};

/// Points, streams, checksum.
byte_vector encode_packed_points(std::span<const packed_point> points,
                                 std::span<const packed_stream> streams);
struct packed_lists {
    std::vector<packed_point> points;
    std::vector<packed_stream> streams;
};
/// `bytes`: all of them. errc::corrupt.
result<packed_lists> parse_packed_points(bytes_view bytes, std::uint64_t points,
                                         std::uint64_t streams);

struct packed_foot {
    std::uint64_t first_segment = 0;
    std::uint64_t last_segment = 0;
    interval_id first_interval;
    interval_id last_interval;
    interval_id moment;
    std::uint64_t rows = 0;
    std::uint64_t leading_bytes = 0;
    std::uint64_t merges = 0;
    std::uint64_t undo_bytes = 0;
    std::uint64_t units = 0;
    std::uint64_t units_offset = 0;
    std::uint64_t pages = 0;
    std::uint64_t pages_offset = 0;
    std::uint64_t keys_offset = 0;
    std::uint64_t filter_offset = 0;
    std::uint64_t filter_bytes = 0;
    std::uint64_t filter_checksum = 0;
    std::uint64_t points = 0;
    std::uint64_t points_offset = 0;
    std::uint64_t streams = 0;
    bool operator==(const packed_foot &) const = default;
};

byte_vector encode_packed_head(const std::array<std::byte, 16> &identity);
/// The group's identity. errc::corrupt, errc::unsupported.
result<std::array<std::byte, 16>> parse_packed_head(bytes_view bytes);
byte_vector encode_packed_foot(const packed_foot &foot);
/// `file_bytes`: the whole file; every section lies inside it, in order. errc::corrupt,
/// errc::unsupported.
result<packed_foot> parse_packed_foot(bytes_view bytes, std::uint64_t file_bytes);

} // namespace farshore
