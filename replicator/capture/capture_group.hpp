#pragma once
// The capture side of a group: its volumes' devices in the clients' write path, one order of writes
// over all of them, the open interval, the dirty maps, and the regions still to be compared
// (pending).
//
// Life of a write (capture_device):
//   wait for overlapping requests in flight (range lock; offered as try without waiting)
//   -> under the group's lock: make sure the dirty bits are set (and their 4 MiB extent active,
//      durable BEFORE data may reach the disk; first touches wait for one batched fdatasync on a
//      pool thread), reserve slots in the open interval
//   -> read the old content if the page cache has it
//   -> copy
//   -> write the file
//   -> under the lock: release the range.
// Nothing waits for encoding, spool or network.
//
// Modes. `tracking`: nothing is recorded, every touched region is dirty (the mode at start, after
// an overflow, after a write error, and when the engine says so). `recording`: writes to regions
// that are not pending go into the open interval; writes to pending regions are only marked dirty,
// since the scan will ship them. begin_recording() makes pending = all dirty regions.
//
// Dirty bits are cleared only by durable(): two epochs of "touched since" bits; when the last
// interval of the older epoch is durable at the DR site, regions touched in it and not since, and
// not pending, become clean. This needs O(1) a write and no memory an interval.
//
// On disk, in `state_directory` (docs/formats-map.md): VOLUME.map = header page (magic,
// version, volume size, boot id, clean flag, checksum), extent activity pages (durable, each with a
// checksum; a bad page means "all active"), fine 64 KiB bits (shared mapping); capture.state =
// shared mapping with the last interval id used, the acknowledged position and the receiver's
// identity. Start cases (pure table in dirty_map_cases.hpp): no map or an unreadable one ->
// everything dirty; another volume size -> refused; a clean stop after which nobody wrote, or a
// kill that the page cache is proved to have outlived -> fine bits exact; else fine bits and every
// region of active extents; a volume that somebody wrote to while we were not serving it ->
// everything, and start().alarm says so.
//
// Extents leave the activity log only after their volume was fdatasync'ed after their last write
// and no bit of theirs is dirty (else a power cut at the primary could take back writes that the DR
// site already has).
//
// Threads: devices from many threads; all other methods from the engine's pools and home thread;
// one mutex for the group (hand-off would cost a thread switch a write), held for bookkeeping only,
// never over disk work. The order of writes is the order of holding it.

#include "replicator/base/async.hpp"
#include "replicator/capture/interval.hpp"
#include "replicator/storage/block_device.hpp"
#include "replicator/storage/file_system.hpp"

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

using digest16 = std::array<std::byte, 16>;
/// Computes the identity digest of bytes (dedupe::digester; the zero digest for all-zero bytes).
using digest_function = std::function<digest16(bytes_view)>;

class page_pool;

struct capture_volume {
    std::string name;
    std::string path;
};

/// What the open interval may hold.
struct open_memory {
    std::uint64_t bytes_max = 0;      ///< new and old content; beyond: overflow -> tracking
    std::uint64_t interval_bytes = 0; ///< new data; beyond: asks for an early close
};

struct capture_options {
    std::string state_directory;
    std::vector<capture_volume> volumes;
    std::string boot_id;                          ///< /proc/sys/kernel/random/boot_id, or a test's
    wall_time boot_began{};                       ///< 0: not known
    open_memory memory{96ULL << 20, 16ULL << 20}; ///< of now; changes
    /// Asked ahead of need for more of it, enough for `bytes` if that is to be had; says what there
    /// is then. From a client's thread, with the group's lock held; must be quick. Empty: it stays
    /// as it is.
    std::function<open_memory(std::uint64_t bytes)> more_memory;
    std::shared_ptr<page_pool> pages; ///< of several groups, trimmed by their owner; null: its own
    bool keep_before = true;          ///< collect old content for deltas
    time_source *time = nullptr;
};

enum class capture_mode : std::uint8_t { tracking, recording };

/// What the group knows about its start; decides between initial sync and catching up.
struct capture_start {
    bool fresh = false; ///< no usable map of at least one volume: everything in it is dirty
    bool same_boot_or_clean = false; ///< all that the state says is proved to be the latest
    bool stopped_in_order = false;   ///< each volume, and nobody used one since
    std::string
        alarm; ///< which volumes are compared as a whole, and why; empty: none, or they are new
    interval_id last_interval;    ///< highest id that may have been used
    stream_position acknowledged; ///< last durable() told
    digest16 receiver{};          ///< identity that `acknowledged` belongs to; zero: none
    stream_id begun;              ///< newest stream that was begun
};

struct pending_range {
    volume_index volume;
    byte_range range; ///< whole regions, clipped at the volume's end
};

struct resolve_outcome {
    std::uint64_t recorded_blocks = 0;
    std::vector<std::uint32_t> differing_units; ///< indices of units to look at more finely
};

struct hole_outcome {
    std::uint64_t settled_regions = 0; ///< were pending and are not any more
    /// What of the range comes next that the volume has data of: whole regions; length 0: nothing,
    /// all of the range is settled.
    byte_range data;
};

struct capture_counts {
    std::uint64_t written_bytes = 0;
    std::uint64_t open_bytes = 0;         ///< memory of the open interval
    std::uint64_t open_written_bytes = 0; ///< what clients wrote in it
    std::uint64_t pending_regions = 0;
    std::optional<time_point> open_since; ///< first write of the open interval, if any
};

/// What to do with blocks that are not in the page cache.
enum class cold_reads : bool { refuse, wait };

class capture_group {
  public:
    /// Opens and locks the volumes and maps. Errors name the volume: missing, busy (another daemon
    /// or mounted), read-only, empty.
    static result<std::unique_ptr<capture_group>> open(file_system &files, capture_options options);
    ~capture_group();

    const capture_start &start() const;
    std::size_t volume_count() const;
    std::uint64_t volume_size(volume_index v) const;
    std::shared_ptr<block_device>
    device(volume_index v); ///< keep the group alive as long as it is used
    std::uint64_t dirty_bytes(volume_index v) const;

    capture_mode mode() const;
    capture_counts counts() const;
    /// Called from a client's thread when the engine should look: the interval should be closed
    /// early, or capture fell to tracking by itself (overflow or write error). Must be quick; set
    /// before serving.
    void set_attention(std::function<void()> f);
    /// Gives `f` the bytes of the open interval and takes what it may hold from here on; nobody
    /// writes into it meanwhile.
    void change_memory(const std::function<open_memory(std::uint64_t open_bytes)> &f);
    /// Why capture fell to tracking by itself since the last begin_recording(); empty: it did not.
    std::string fallback_reason() const;

    /// Drops the open interval; from now on only the map is kept.
    void begin_tracking();
    /// Durable on return, to be called before a new stream is used: what is dirty now, that but for
    /// it the volumes are what `receiver` has at `common`, and that `stream` begins with interval
    /// `first`.
    result<> prepare_stream(stream_id stream, interval_id first, stream_position common,
                            const digest16 &receiver);
    /// From tracking: pending = all dirty regions, new epochs, records into intervals `first`,
    /// first+1, ...
    void begin_recording(stream_id stream, interval_id first);
    /// Adds the range's regions to dirty and pending (resync, NAK). Any mode; in recording, the
    /// caller restarts with begin_tracking/begin_recording so that order is kept.
    void mark_dirty(volume_index v, byte_range range);
    void mark_all_dirty();
    /// Before clients: these ranges differ from what the other site has, and of a volume whose map
    /// is new nothing else does. To be said at each start until a map that has it is durable.
    void differs_in(const std::vector<pending_range> &ranges);
    bool all_dirty() const;

    /// Cuts a barrier: swaps in a new open interval and returns the closed one; no writer waits.
    /// nullptr when not recording, or when it is empty and `even_if_empty` is false. The commit's
    /// `consistent` is true when no region was pending at the cut.
    std::unique_ptr<interval> close_interval(wall_time now, bool even_if_empty, bool requested);
    /// All intervals up to `position` are durable at the DR site: clears dirty bits by epochs,
    /// persists the position. Ignored when of another stream than the current.
    void durable(stream_position position, const digest16 &receiver);

    // The scan of catch-up. Each call excludes clients' writes to the range only while it reads and
    // hashes it (it reads ahead first).
    /// Next pending regions at or after (volume, offset) in order, as runs of at most `max_bytes`,
    /// not crossing a multiple of max_bytes; nullopt when none is left behind that place.
    std::optional<pending_range> next_pending(volume_index v, std::uint64_t offset,
                                              std::uint64_t max_bytes) const;
    std::uint64_t pending_bytes() const;
    /// Compares the range (whole pending regions, at most 1 MiB) in units of `unit_bytes`
    /// (region-multiple or 4 KiB) with the peer's digests. Equal units: no longer pending (when a
    /// whole region is resolved). Differing units: with unit 4 KiB, or when the peer's unit is all
    /// zero: the blocks that differ are recorded into the open interval and the region is resolved;
    /// else they are returned for a finer look and stay pending. errc::not_in_sync when capture
    /// fell to tracking meanwhile. fault::volume: the disk can't read the range; it stays pending.
    result<resolve_outcome> resolve(const pending_range &where, std::uint64_t unit_bytes,
                                    const std::vector<digest16> &peer,
                                    const digest_function &digest);
    /// The peer has nothing in the range. Its pending regions are settled from the first on, as
    /// long as the volume has nothing there either: no digest, nothing recorded. A region that is
    /// only in part in the range is left alone. Any length. Errors as resolve().
    result<hole_outcome> settle_holes(const pending_range &where);
    /// Records the whole range whatever the peer has (`resync --full`), zero blocks included.
    result<resolve_outcome> record_all(const pending_range &where);
    /// For a range that resolve() or record_all() could not read (fault::volume): its pending
    /// regions are resolved by recording all blocks that the disk can read. The others are known to
    /// be unreadable from here on; points don't cover them and barriers are consistent without
    /// them. errc::limit: more than unreadable_blocks_max of the volume. Any other error: the disk
    /// or file system is gone as a whole (a read says so, a sync after it fails, or reads elsewhere
    /// do); nothing more of the range is recorded, and no barrier is consistent.
    result<resolve_outcome> record_readable(const pending_range &where);
    /// Reads some of them again, about a second long, and records those that can be read now; the
    /// next call goes on from there. Returns how many are left.
    result<std::uint64_t> retry_unreadable();
    /// In order, neighbours merged; at most `max` ranges. Bytes of all of them: unreadable_bytes().
    std::vector<byte_range> unreadable(volume_index v, std::size_t max) const;
    std::uint64_t unreadable_bytes(volume_index v) const;
    /// Digest of the range as of the next barrier, put into the open interval as a verify entry;
    /// dropped again if a client writes to it before the barrier (then it is not in the closed
    /// interval's commit().verify).
    result<> add_verify(const pending_range &where, const digest_function &digest);

    /// The same for a hole of the volume, of at most 2 GiB: by its extents, nothing is read. False:
    /// the volume has data there.
    result<bool> add_verify_hole(const pending_range &where);
    /// The next data of the volume at or after `offset`, as file::next_data. It may change at any
    /// time.
    result<byte_range> next_data(volume_index v, std::uint64_t offset) const;

    /// Marks a clean stop: syncs volumes and maps. Clients must be gone.
    result<> close_clean();
    /// The block's content as the DR site has it at the barrier before `since`, zero-padded behind
    /// the volume's end. For blocks that interval `since` does not change. False, `out` then
    /// unspecified: it was changed later, is being written, is not yet compared, or is not in the
    /// page cache and `cold` says not to wait for the disk.
    bool read_unchanged(volume_index volume, block_index block, stream_position since,
                        bytes_span out, cold_reads cold = cold_reads::refuse) const;
    /// Periodic upkeep off the write path (call every few seconds on the disk pool): lets idle
    /// extents leave the activity log.
    result<> maintain();
    /// What maintain() saw: a volume's file was replaced, or somebody else uses it. Stays for good,
    /// since what is compared with the DR site is the file that we have; the next start compares
    /// all of the one that it finds. Empty: nothing.
    std::string disturbance() const;
    /// Call it every second: a write that takes long is told from one of somebody else's by its
    /// time.
    void note_writes_in_flight();

  private:
    capture_group();
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace farshore
