#pragma once
// What a volume's map is worth when the daemon starts: a closed table from evidence to decision,
// tried in order. Pure.
//
// Rule: what is not proved to be unchanged is compared. `fine bits` are trusted alone only where it
// is proved that the page cache that has them lived on, or that all was durable and nobody wrote
// since.
//
//   case        evidence                                           what is dirty
//   missing     no map file                                        everything
//   unreadable  header or both state slots broken, too short       everything
//   resized     the volume has another size                        refused: the copy has the old size too
//   replaced    another file (inode, birth time) at the path       everything
//   shared      somebody else was seen to use it while served     everything
//   rotted      clean, but the fine bits' checksum is wrong        everything
//   written     the volume's times are later than we left them     everything
//   put_back    ... or earlier                                     everything
//   clock_back  the clock stands before the volume's last write    everything: times prove nothing
//   clean_stop  the clean flag is set                              the fine bits
//   other_boot  power cut or reset                                 fine bits and all of active extents
//   remounted   killed; the map's or volume's file system or       the same: the page cache is gone
//               device is not the instance that it was
//   sync_failed killed after a sync failed                         the same: the kernel may have dropped pages
//   same_boot   killed; both are the same open instance            the fine bits: the page cache has them
//
// What the times of the volume's file prove (judge_times). Our own last write is known from a word
// of the map that each write stores first, at most 50 ms old (`last write`; at a start: the file's
// newest time); a kill keeps it at once, a power cut as of at most a minute before. It follows the
// clock back as well.
//
//   event                                 evidence                                            -> times
//   stopped in order, nobody wrote        both times equal those in the slot: they were       -> as_left
//                                         made new when all content was durable, so no
//                                         snapshot of before has them
//   stopped in order; restore, fsck of the guest's file system, loop mount: a time is later   -> later
//   stopped in order; rolled back by the file system or storage below     : a time is earlier -> earlier
//   killed, nobody wrote                  later time <= last write + 3 s                      -> as_left
//   killed, somebody wrote                later time >  last write + 3 s                      -> later
//   power cut or remount, nobody wrote    later time <= last write + 5 min                    -> as_left
//   power cut, somebody wrote after boot  a time is after the start of this boot              -> later
//   power cut or remount, written by another system before: later than last write + 5 min     -> later
//   power cut, volume rolled back         earlier than times that were durable                -> earlier
//   the clock was set back meanwhile      now < last write - 3 s                              -> unsure
//   a block device                        it has no times                                     -> untold
//
// Not proved: a write within the 3 s or 5 min; one by somebody who sets the clock back for it; a
// block device, of which only a sample is compared (capture/capture_sample.cpp). docs/operations.md
// says what to do then.

#include "replicator/format/dirty_map_file.hpp"

#include <algorithm>
#include <cstdint>

namespace farshore {

enum class map_case : std::uint8_t {
    missing,
    unreadable,
    resized,
    replaced,
    shared,
    rotted,
    written,
    put_back,
    clock_back,
    clean_stop,
    other_boot,
    remounted,
    sync_failed,
    same_boot,
};

enum class map_trust : std::uint8_t {
    nothing,             ///< all regions are dirty, all extents active
    fine_bits,           ///< the fine bits are exact
    fine_bits_and_active ///< the fine bits may be old: what was active is dirty too
};

enum class volume_times : std::uint8_t { untold, as_left, later, earlier, unsure };

struct time_evidence {
    bool clean = false;
    bool same_boot = false;
    bool same_instance = false;
    file_times left;    ///< clean: at the stop
    file_times durable; ///< known to be on the disk; told() false: none
    file_times now;
    std::int64_t last_write_ns = 0;
    std::int64_t clock_ns = 0;      ///< now
    std::int64_t boot_began_ns = 0; ///< of this boot; 0: not known
};

/// Of a write in flight behind the last one noted, and of the kernel's clock for files.
constexpr std::int64_t last_write_late_ns = 3'000'000'000;
/// So old may the noted one be on the disk.
constexpr std::int64_t last_write_unsynced_ns = 300'000'000'000;

constexpr volume_times judge_times(const time_evidence &e) {
    if (!e.now.told()) {
        return volume_times::untold;
    }
    const std::int64_t newest = std::max(e.now.modified_ns, e.now.changed_ns);
    if (e.clean) {
        if (e.now == e.left) {
            return volume_times::as_left;
        }
        return e.now.changed_ns < e.left.changed_ns ? volume_times::earlier : volume_times::later;
    }
    if (e.clock_ns < e.last_write_ns - last_write_late_ns) {
        return volume_times::unsure;
    }
    const bool cached = e.same_boot && e.same_instance;
    if (newest > e.last_write_ns + (cached ? last_write_late_ns : last_write_unsynced_ns)) {
        return volume_times::later;
    }
    if (!e.same_boot && e.boot_began_ns != 0 && newest > e.boot_began_ns) {
        return volume_times::later;
    }
    if (!cached && e.durable.told() && e.now.changed_ns < e.durable.changed_ns) {
        return volume_times::earlier;
    }
    return volume_times::as_left;
}

struct map_evidence {
    bool present = false;
    bool readable = false;
    bool same_size = false;
    bool same_file = false; ///< inode and birth time of the volume, or a block device as before
    bool shared = false;    ///< the mark that somebody else used it while we did
    bool clean = false;
    bool intact = false; ///< the fine bits are those of the clean stop
    volume_times times = volume_times::untold;
    bool same_boot = false;
    bool same_instance = false; ///< of map and volume, both known
    bool sync_failed = false;
};

struct map_verdict {
    map_case what;
    map_trust trust;
    const char *name; ///< for the log
    /// Of cases where a volume that was served before is compared as a whole: what to tell. Else
    /// nullptr.
    const char *alarm = nullptr;
};

constexpr map_verdict judge_map(const map_evidence &e) {
    if (!e.present) {
        return {map_case::missing, map_trust::nothing, "missing"};
    }
    if (!e.readable) {
        return {map_case::unreadable, map_trust::nothing, "unreadable"};
    }
    if (!e.same_size) {
        return {map_case::resized, map_trust::nothing, "resized"};
    }
    if (!e.same_file) {
        return {map_case::replaced, map_trust::nothing, "another file",
                "another file stands in its place than was served last"};
    }
    if (e.shared) {
        return {map_case::shared, map_trust::nothing, "shared",
                "somebody else had it, or it stood at another path, while it was served"};
    }
    if (e.clean && !e.intact) {
        return {map_case::rotted, map_trust::nothing, "damaged at rest",
                "its dirty map changed at rest"};
    }
    switch (e.times) {
    case volume_times::later:
        return {map_case::written, map_trust::nothing, "written meanwhile",
                "somebody wrote to it while it was not served"};
    case volume_times::earlier:
        return {map_case::put_back, map_trust::nothing, "put back",
                "it is older than it was when it was last served: somebody put it back"};
    case volume_times::unsure:
        return {map_case::clock_back, map_trust::nothing, "clock set back",
                "the clock stands before its last write, so its times don't prove that nobody "
                "wrote to it"};
    case volume_times::untold:
    case volume_times::as_left:
        break;
    }
    if (e.clean) {
        return {map_case::clean_stop, map_trust::fine_bits, "clean stop"};
    }
    if (!e.same_boot) {
        return {map_case::other_boot, map_trust::fine_bits_and_active, "other boot"};
    }
    if (!e.same_instance) {
        return {map_case::remounted, map_trust::fine_bits_and_active, "mounted anew"};
    }
    if (e.sync_failed) {
        return {map_case::sync_failed, map_trust::fine_bits_and_active, "after a failed sync"};
    }
    return {map_case::same_boot, map_trust::fine_bits, "same boot"};
}

} // namespace farshore
