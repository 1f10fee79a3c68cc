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
//    56    8 checksum         XXH3-64 of bytes 0..55
// State slots, at 512 and 1024, 256 bytes each; the valid one with the higher sequence counts, so a
// kill or power cut in the middle of a store leaves the other:
//     0    4 magic            "FSMS"
//     4    4 flags            bit 0: clean stop; bit 1: a sync of volume or map failed; bit 2: somebody else
//                             used the volume while it was served; others zero
//     8    8 sequence         grows by one with each store
//    16   40 boot_id          text, zero-padded: the boot in which the fine bits were changed
//    56   32 map              what names this map file: device, inode, birth time (signed ns since
//                             1970, 0: not known), instance (8 bytes each; file_mark)
//    88   32 volume           likewise of the volume's file or device
//   120   16 left             times of the volume's file, modified and changed (signed ns since 1970; 0
//                             of a block device): at the stop, if clean; else when last looked at
//   136   16 durable          times of it that are known to be on its disk; 0: none
//   152    8 fine_checksum    clean: XXH3-64 of the page states and the pages of fine bits that are mixed; else 0
//   160   88 reserved         zero
//   248    8 checksum         XXH3-64 of bytes 0..247
// Last write, 8 bytes at 1536, without a checksum: when a client's write to the volume last began,
// signed ns since 1970, stored before the write when the one that stands there is 50 ms older (or
// newer). At a start: the newest time of the volume's file.
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
//     4    2 version          2
//     6    2 flags            zero
//     8    8 sequence         grows by one with each store
//    16    8 last_interval    highest id used, exact while the boot id is the current one
//    24    8 reserved_interval no id above it was ever used; durable before the ids are
//    32    8 stream           of the common position: the newest barrier that both sites are known to hold.
//    40    8 common           interval id. Stored before the dirty bits that it allows to clear
//    48   16 receiver         identity of who acknowledged it; zero: nobody
//    64   40 boot_id          text, zero-padded
//   104    8 begun            newest stream that was begun; durable before it is used
//   112    8 reserved         zero
//   120    8 checksum         XXH3-64 of bytes 0..119
// Unknown versions: the group is refused, never overwritten. History: version 1, first; 2: what
// proves that volume and map are the same, the stream begun.

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
constexpr std::size_t map_slot_bytes = 256;
constexpr std::uint64_t map_last_write_offset = 1536;
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

/// What of a file's identity is kept here. `instance` is that of its mounted file system
/// (file_identity::mount); of a block device, which has no inode and birth time of its own, its own
/// one. 0: not known, which proves nothing.
struct file_mark {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t born_ns = 0;
    std::uint64_t instance = 0;
    bool operator==(const file_mark &) const = default;
};
/// Both 0: a block device, which has none.
struct file_times {
    std::int64_t modified_ns = 0; ///< anybody may set it back, as restores do
    std::int64_t changed_ns = 0;  ///< only the kernel sets it
    bool told() const { return modified_ns != 0 || changed_ns != 0; }
    bool operator==(const file_times &) const = default;
};

struct map_state {
    std::uint64_t sequence = 0;
    bool clean = false;
    std::string boot_id; ///< at most boot_id_bytes_max
    bool sync_failed = false;
    bool shared = false;
    file_mark map{};
    file_mark volume{};
    file_times left{};
    file_times durable{};
    std::uint64_t fine_checksum = 0;
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

/// Of the page states and of the pages of fine bits that are mixed, in order.
std::uint64_t checksum_fine(bytes_view mapped, const map_layout &layout);

using activity_bits = std::array<std::uint64_t, activity_words>;
void encode_activity(bytes_span sector, std::uint32_t index, const activity_bits &bits);
result<activity_bits> parse_activity(bytes_view sector, std::uint32_t index);

constexpr std::uint64_t capture_state_bytes = 4096;

struct capture_record {
    std::uint64_t sequence = 0;
    interval_id last_interval;
    interval_id reserved_interval;
    stream_position acknowledged; ///< common
    std::array<std::byte, 16> receiver{};
    std::string boot_id;
    stream_id begun{};
    bool operator==(const capture_record &) const = default;
};
/// The newest valid record of the file's 4096 bytes. errc::corrupt when there is none,
/// errc::unsupported when it is of another version.
result<capture_record> parse_capture_state(bytes_view file);
void store_capture_state(bytes_span file, const capture_record &record);

} // namespace farshore
