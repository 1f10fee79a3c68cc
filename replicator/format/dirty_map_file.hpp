#pragma once
// The files in which the primary remembers what the DR site may lack: one map a volume (VOLUME.map)
// and one small state a group (capture.state). docs/formats-map.md has the same tables.
// Little-endian.
//
// Map file: header page | page states | fine bits | activity sectors. The header page, the page
// states and the fine bits are a shared mapping and change in place; activity sectors are only
// written by write + fdatasync.
//
// Header, at 0, 64 bytes, written once:
//   off size name             meaning, valid range
//     0    4 magic            "FSDM"
//     4    2 version          2; any other is refused (errc::unsupported)
//     6    2 flags            zero
//     8    8 volume_bytes     1..limits::volume_bytes_max
//    16    8 fine_offset      4096 + page states: a byte a page of fine bits, rounded up to 4096 bytes
//    24    8 fine_bytes       one bit a 64 KiB region, rounded up to 4096 bytes
//    32    8 activity_offset  fine_offset + fine_bytes
//    40    8 activity_bytes   512 for each 3904 extents of 4 MiB
//    48    8 reserved         zero
//    56    8 header_checksum  XXH3-64 of bytes 0..55
// State slots, at 512 and 1024, 64 bytes each; the valid one with the higher sequence counts, so a
// kill or power cut in the middle of a store leaves the other:
//     0    4 magic            "FSMS"
//     4    4 flags            bit 0: clean stop; others zero
//     8    8 sequence         grows by one with each store
//    16   40 boot_id          text, zero-padded: the boot in which the fine bits were changed
//    56    8 checksum         XXH3-64 of bytes 0..55
// All other bytes of the header page are zero.
// Page states: byte p is what page p of the fine bits (4096 bytes; 2 GiB of the volume) says:
// 0 clean, its fine bits don't count; 1 mixed, its fine bits say it; 2 dirty, all of its regions,
// its fine bits don't count. Bytes behind the last page are zero. So "everything is dirty" and
// "nothing is" touch no page of the fine bits. Any other value counts as 2.
// Fine bits: bit r % 64 of the 64-bit word r / 64 is region r; a word is an extent. 1: may differ.
// Bits behind the volume's last region are zero.
// Activity sector, 512 bytes, one disk sector so that a torn write leaves the old or the new one:
//     0    4 magic            "FSAC"
//     4    4 index            of the sector in the file
//     8    8 reserved         zero
//    16  488 bits             bit e % 3904 is extent e; 1: data of it may be on its way to the disk
//   504    8 checksum         XXH3-64 of bytes 0..503
// A bad activity sector means that all its extents are active. Checksums are against accidents.
//
// capture.state: 4096 bytes, two slots of 128 bytes at 0 and 512, as above:
//     0    4 magic            "FSCS"
//     4    2 version          1
//     6    2 flags            zero
//     8    8 sequence         grows by one with each store
//    16    8 last_interval    highest id used, exact while the boot id is the current one
//    24    8 reserved_interval no id above it was ever used; durable before the ids are
//    32    8 stream           of the acknowledged position
//    40    8 acknowledged     interval id
//    48   16 receiver         identity of who acknowledged it; zero: nobody
//    64   40 boot_id          text, zero-padded
//   104   16 reserved         zero
//   120    8 checksum         XXH3-64 of bytes 0..119
// Unknown versions: the group is refused, never overwritten. History: version 1, first.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/position.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace farshore {

constexpr std::uint64_t map_page_bytes = 4096;
constexpr std::uint64_t words_per_map_page = map_page_bytes / 8;
constexpr std::uint64_t regions_per_map_page = map_page_bytes * 8;
constexpr std::uint64_t map_slot_offsets[2] = {512, 1024};
constexpr std::size_t map_slot_bytes = 64;
constexpr std::size_t activity_sector_bytes = 512;
constexpr std::size_t activity_words = 61; ///< 64-bit words of bits in a sector
constexpr std::uint64_t extents_per_sector = activity_words * 64;
constexpr std::size_t boot_id_bytes_max = 40;

/// What a page of the fine bits says. Stored in the file: don't change the values.
enum class map_page_state : std::uint8_t { clean = 0, mixed = 1, dirty = 2 };

/// Where things stand in the map file of a volume.
struct map_layout {
    std::uint64_t volume_bytes = 0;
    std::uint64_t fine_offset = 0;
    std::uint64_t fine_bytes = 0;
    std::uint64_t activity_offset = 0;
    std::uint64_t activity_bytes = 0;

    static map_layout of(std::uint64_t volume_bytes);
    std::uint64_t mapped_bytes() const { return activity_offset; }
    std::uint64_t pages() const { return fine_bytes / map_page_bytes; } ///< of fine bits
    std::uint64_t file_bytes() const { return activity_offset + activity_bytes; }
    std::uint64_t sectors() const { return activity_bytes / activity_sector_bytes; }
    bool operator==(const map_layout &) const = default;
};

/// Fills one header page (4096 bytes): header, the rest zero.
void encode_map_header(bytes_span page, const map_layout &layout);
/// errc::corrupt, errc::unsupported (version). A layout that is not the one of its volume_bytes is
/// corrupt.
result<map_layout> parse_map_header(bytes_view page);

struct map_state {
    std::uint64_t sequence = 0;
    bool clean = false;
    std::string boot_id; ///< at most boot_id_bytes_max
    bool operator==(const map_state &) const = default;
};
/// The newest valid state of a header page; errc::corrupt when there is none.
result<map_state> parse_map_state(bytes_view page);
/// Stores into the slot that `state.sequence` selects; the other slot is not touched.
void store_map_state(bytes_span page, const map_state &state);

/// The page states of a mapped map file.
std::span<std::uint8_t> map_page_states(bytes_span mapped, const map_layout &layout);
/// The fine bits of a mapped map file, as words of this machine (little-endian only).
std::span<std::uint64_t> map_words(bytes_span mapped, const map_layout &layout);

using activity_bits = std::array<std::uint64_t, activity_words>;
void encode_activity(bytes_span sector, std::uint32_t index, const activity_bits &bits);
result<activity_bits> parse_activity(bytes_view sector, std::uint32_t index);

constexpr std::uint64_t capture_state_bytes = 4096;

struct capture_record {
    std::uint64_t sequence = 0;
    interval_id last_interval;
    interval_id reserved_interval;
    stream_position acknowledged;
    std::array<std::byte, 16> receiver{};
    std::string boot_id;
    bool operator==(const capture_record &) const = default;
};
/// The newest valid record of the file's 4096 bytes. errc::corrupt when there is none,
/// errc::unsupported when it is of another version.
result<capture_record> parse_capture_state(bytes_view file);
void store_capture_state(bytes_span file, const capture_record &record);

} // namespace farshore
