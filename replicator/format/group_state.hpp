#pragma once
// The two small files of a group at the DR site. docs/formats-log.md "Group state".
//
// group.state: two slots of 65536 bytes that are written in turn, each one commit record, the
// entries of the images, and zeroes behind them; the valid record with the higher sequence counts.
// A torn slot leaves the other one, and whatever the older record needs (journal, undo) is kept
// until the newer one is followed. Only the pages of 4096 bytes with something in them are written.
// Commit record, 176 bytes, little-endian:
//   off size name             meaning, valid range
//     0    4 magic            "FSC1"
//     4    2 version          3; any other is refused (errc::unsupported)
//     6    2 flags            1 the applied barrier is consistent, 2 clients write to the images
//                             (replica/before_keeper.hpp); others refused
//     8    8 sequence         >= 1, one more with each record
//    16    8 applied_stream   the images show this interval; 0, 0: none was applied
//    24    8 applied_interval
//    32    8 applied_time     of its barrier, ns since 1970, signed
//    40    8 damage_count     wrong blocks were found this many times
//    48    8 healed_count     of these, repaired; <= damage_count
//    56    8 durable_stream   newest interval that the journal held durably
//    64    8 durable_interval
//    72    8 point_interval   newest point; 0: none
//    80    8 point_time
//    88    8 undo_segment     where the history (undo/) ended; segment 0: it was empty
//    96    8 undo_offset
//   104    8 rollback_segment likewise of the rollback log (rollback/)
//   112    8 rollback_offset
//   120    8 applied_arrival  of that barrier here, by this site's clock; 0: not known
//   128    8 point_arrival    likewise
//   136    8 suspect_interval points up to this one are not served: the images were changed by
//                             somebody else after they were made; 0: none
//   144    8 suspect_time     when that was found, ns since 1970, signed; 0 with interval 0
//   152    8 touched_time     beside what undo says, the images may have been written by us up to
//                             this time (replica/image_cases.hpp); 0: no
//   160    4 images           entries: 0 or the number of volumes, <= volumes_per_group_max
//   164    4 reserved         zero
//   168    8 checksum         XXH3-64 of bytes 0..167 and of the entries
// Entry, 32 bytes, one a volume in order: how the commit left its image, everything synced
//     0    8 inode            0: a block device, or not known
//     8    8 size
//    16    8 modified         mtime, ns since 1970, signed; of a block device 0
//    24    8 changed          ctime, likewise
//
// group.volumes, written once, replaced as a whole: a head of 28 bytes; for each volume: name
// (varint length, bytes), le64 size, path (varint length, bytes); at the end XXH3-64 of all before.
// Head:
//     0    4 magic            "FSG1"
//     4    2 version          1
//     6    2 reserved         zero
//     8   16 identity         of the copy
//    24    4 count            number of volumes
//
// History: version 1 of both, first. Commit record version 2: a second undo log, the rollback log.
// Version 3: how the images were left, and which points are suspect; older ones are refused, for
// nothing proves that the images are theirs.

#include "replicator/base/bytes.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/position.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace farshore {

constexpr std::size_t commit_record_bytes = 176;
constexpr std::size_t commit_slot_bytes = 65536;
constexpr std::size_t commit_image_bytes = 32;

/// How an image was left.
struct image_stamp {
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t modified = 0;
    std::int64_t changed = 0;
    bool operator==(const image_stamp &) const = default;
};

struct commit_record {
    std::uint64_t sequence = 1;
    stream_position applied;
    bool consistent = false; ///< the applied barrier is
    bool served = false;     ///< clients write to the images: undo after it is no roll-back
    wall_time applied_time{};
    wall_time applied_arrival{};
    std::uint64_t damage_count = 0;
    std::uint64_t healed_count = 0;
    stream_position durable;
    interval_id point;
    wall_time point_time{};
    wall_time point_arrival{};
    std::uint64_t undo_segment = 0;
    std::uint64_t undo_offset = 0;
    std::uint64_t rollback_segment = 0;
    std::uint64_t rollback_offset = 0;
    interval_id suspect; ///< points up to it are not served
    wall_time suspect_time{};
    std::int64_t touched = 0; ///< ns; the images may have been written up to then
    std::vector<image_stamp> images;
    bool operator==(const commit_record &) const = default;
};

/// The pages of a slot that have something in them; the rest of it is zero.
byte_vector encode_commit_slot(const commit_record &record);
/// A slot, or its first pages. errc::corrupt, errc::unsupported.
result<commit_record> parse_commit_slot(bytes_view slot);

struct group_volume {
    std::string name;
    std::uint64_t size = 0;
    std::string path;
    bool operator==(const group_volume &) const = default;
};
struct group_volumes {
    std::array<std::byte, 16> identity{};
    std::vector<group_volume> volumes;
    bool operator==(const group_volumes &) const = default;
};
byte_vector encode_group_volumes(const group_volumes &group);
/// errc::corrupt, errc::unsupported, errc::limit.
result<group_volumes> parse_group_volumes(bytes_view bytes);

} // namespace farshore
