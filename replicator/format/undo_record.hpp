#pragma once
// The undo record: what blocks of a replica held before an interval was applied. Records lie back
// to back in the segments of a group's two undo logs, undo/ (the history) and rollback/, in the
// order of intervals. docs/formats-log.md "Undo logs".
//
// A record is a header, then contents (4096 bytes each, in the order of the entries that have one),
// then the entry table. In each log an interval has any number of records, with parts 0, 1, ...;
// the last one in the history says so and carries what became of the interval: whether its barrier
// is a recovery point. A point always has one there. No record of the rollback log is marked last.
//
// Header, 128 bytes, little-endian:
//   off size name             meaning, valid range
//     0    4 magic            "FSU1"
//     4    2 version          2; any other is refused (errc::unsupported)
//     6    2 flags            1 last part, 2 barrier is consistent, 4 barrier is a point; others
//                             refused
//     8    8 stream           of the interval, not 0
//    16    8 interval         >= 1
//    24    4 part             0-based
//    28    4 entries          <= undo_entries_max
//    32    8 content_bytes    4096 for each raw entry
//    40    8 time             of the barrier, ns since 1970, signed; 0 unless last part
//    48    8 damage_count     of the group after the interval; 0 unless last part
//    56    8 healed_count     likewise
//    64    8 synced_segment   how far the log was durable when this record was begun: a record
//    72    8 synced_offset    before this place that can't be read is damaged, not torn
//    80    8 entries_checksum XXH3-64 of the entry table
//    88    8 arrival          of the barrier at the DR site, by its clock, ns since 1970; 0 unless last
//                             part, or not known
//    96    8 written          when the record was written, ns since 1970, signed, by the clock that
//                             stamps files: from then on the images may have been changed on its
//                             account
//   104   16 reserved         zero
//   120    8 header_checksum  XXH3-64 of bytes 0..119
// Entry, 24 bytes:
//     0    8 block            first block
//     8    8 checksum         XXH3-64 of the content; 0 for zero
//    16    4 count            blocks; 1 for raw
//    20    2 volume
//    22    1 kind             1 zero, 2 raw (3 is kept for compressed content)
//    23    1 reserved         zero
// Torn writes: the header is written last; a record counts only when all checksums are right. A
// record is synced before any block that it speaks of is changed, so a torn one at the end was not
// needed. History: version 1, first. Version 2: written.

#include "replicator/base/bytes.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/position.hpp"

#include <cstdint>
#include <vector>

namespace farshore {

constexpr std::size_t undo_header_bytes = 128;
constexpr std::size_t undo_entry_bytes = 24;
constexpr std::uint32_t undo_entries_max = 1 << 16; ///< of one record

struct undo_header {
    stream_position position;
    std::uint32_t part = 0;
    bool last = false;
    bool consistent = false;
    bool point = false;
    std::uint32_t entries = 0;
    std::uint64_t content_bytes = 0;
    wall_time time{};
    wall_time arrival{};
    std::uint64_t damage_count = 0;
    std::uint64_t healed_count = 0;
    std::uint64_t synced_segment = 0;
    std::uint64_t synced_offset = 0;
    std::uint64_t entries_checksum = 0;
    std::int64_t written = 0;

    /// Header, contents and entry table.
    std::uint64_t record_bytes() const {
        return undo_header_bytes + content_bytes + std::uint64_t{entries} * undo_entry_bytes;
    }
    bool operator==(const undo_header &) const = default;
};

enum class undo_kind : std::uint8_t { zero = 1, raw = 2 };

struct undo_entry {
    volume_index volume;
    block_index block;
    undo_kind kind = undo_kind::zero;
    std::uint32_t count = 1;
    std::uint64_t checksum = 0;
    bool operator==(const undo_entry &) const = default;
};

byte_vector encode_undo_header(const undo_header &header);
/// The first undo_header_bytes of `bytes`. errc::corrupt, errc::unsupported.
result<undo_header> parse_undo_header(bytes_view bytes);

byte_vector encode_undo_entries(std::span<const undo_entry> entries);
/// The whole table of a record; checks it against the header. errc::corrupt.
result<std::vector<undo_entry>> parse_undo_entries(const undo_header &header, bytes_view table);
/// One entry of a table, by its own fields alone. errc::corrupt.
result<undo_entry> parse_undo_entry(bytes_view bytes);

} // namespace farshore
