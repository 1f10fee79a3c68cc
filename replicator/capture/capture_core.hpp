#pragma once
// The inside of a capture group: its state, and the steps that requests and scans are made of.
// Steps that all share stand in capture_core.cpp, those of a write in capture_write.cpp, of zeroing
// in capture_zero.cpp, of the scan in capture_scan.cpp and capture_holes.cpp; start, upkeep and
// stop in capture_upkeep.cpp, the bits that become clean in capture_clear.cpp, modes and intervals
// in capture_group.cpp.
//
// One mutex guards everything that doesn't say otherwise, for bookkeeping only. Functions that end
// in _locked are called with it held and keep it; those with a `lock` parameter may give it up
// meanwhile; the others are called without it.

#include "replicator/capture/before_policy.hpp"
#include "replicator/capture/capture_group.hpp"
#include "replicator/capture/capture_state.hpp"
#include "replicator/capture/change_stamps.hpp"
#include "replicator/capture/dirty_map.hpp"
#include "replicator/capture/epochs.hpp"
#include "replicator/capture/interval_core.hpp"
#include "replicator/capture/range_lock.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>

namespace farshore {

/// Whether a request may wait for a disk or for others.
enum class patience : std::uint8_t { never, wait };

struct captured_volume {
    capture_volume config;
    volume_index index;
    std::uint64_t size = 0;
    std::uint64_t blocks = 0;
    std::uint64_t regions = 0;
    std::unique_ptr<file> data;
    std::unique_ptr<dirty_map> map;
    std::shared_ptr<block_device> device;

    range_table ranges;
    std::condition_variable range_left;
    unsigned range_waiters = 0;
    epoch_bits epochs;
    paged_bitmap pending;  ///< to be compared by the scan
    paged_bitmap sampled;  ///< clean by the map, of a block device, and compared all the same
    paged_bitmap verified; ///< where the open interval may have verify entries
    /// Blocks whose content nobody knows, since the disk can't read them: not shipped, no source of
    /// anything. A write or zeroing that is recorded, or a later read, makes them known. Their
    /// regions stay dirty (`held`).
    std::set<std::uint64_t> unreadable;
    std::uint64_t retry_from = 0; ///< where retry_unreadable() goes on; its own
    std::uint64_t proofs = 0;     ///< of prove_reads(); the scan's
    paged_bitmap held;
    before_policy before;
    time_point last_idle_pass{};
    bool refusal_logged = false;

    /// The bytes of the blocks that lie in the volume.
    byte_range bytes_of(index_range b) const {
        const std::uint64_t first = b.first * block_bytes;
        return {first, std::min(b.last * block_bytes, size) - first};
    }
};

constexpr index_range regions_of_blocks(index_range b) {
    return {b.first / blocks_per_region, ceil_div(b.last, blocks_per_region)};
}

/// Old content of the blocks that a request covers only in part.
struct block_edges {
    block_edges(const captured_volume &v, byte_range range);

    bool any() const { return head || tail; }
    bool contains(std::uint64_t block) const {
        return (head && block == blocks.first) || (tail && block == blocks.last - 1);
    }
    bytes_view old_of(std::uint64_t block) const {
        return old.view().subspan(block == blocks.first ? 0 : block_bytes, block_bytes);
    }
    /// Reads them, zero-padded behind the volume's end. False: not cached and `p` is never.
    result<bool> read(const captured_volume &v, patience p);

    index_range blocks;
    bool head = false; ///< the first block is covered in part
    bool tail = false; ///< the last block is another one and covered in part
    buffer old;
};

struct capture_core {
    capture_options options;
    capture_start start;
    std::unique_ptr<capture_state> state;
    std::vector<std::unique_ptr<captured_volume>> volumes;
    std::shared_ptr<page_pool> pool;
    std::function<void()> attention;

    mutable std::mutex mutex; // a hand-off to one thread would cost each write a switch
    capture_mode mode = capture_mode::tracking;
    std::uint64_t run = 0; ///< counts begin_recording(): what began in another run is void
    bool gathering =
        false; ///< begin_recording() copies the dirty regions: what is marked is pending as well
    stream_id stream;
    owned_core open; ///< exactly while recording
    std::uint64_t open_serial = 0;
    change_stamps stamps; ///< of what was recorded
    epoch_clock clock;
    interval_id acknowledged; ///< of `stream`
    std::string fallback;
    bool attention_due = false;
    std::uint64_t written_bytes = 0;
    std::vector<owned_core> dropped; ///< to be freed off the write path
    bool stopped = false;
    std::string disturbance;

    std::mutex durable_mutex;   // durable() against itself; taken before `mutex`
    std::mutex upkeep_mutex;    // maintain() against itself; taken before `mutex`
    std::size_t retry_next = 0; ///< the volume that retry_unreadable() begins with; its own

    // What all requests share.
    /// Takes the range; false: somebody holds or awaits a part of it and `p` is never.
    bool enter_range(std::unique_lock<std::mutex> &lock, captured_volume &v, index_range blocks,
                     patience p, range_table::ticket &ticket);
    void leave_range_locked(captured_volume &v, range_table::ticket ticket);
    /// Takes the range for a writer and marks its regions dirty in durably active extents. False as
    /// above, or when an extent must be activated first. Errors leave nothing held.
    result<bool> enter_write(std::unique_lock<std::mutex> &lock, captured_volume &v,
                             index_range blocks, patience p, range_table::ticket &ticket);
    /// Faults the map's pages in for writing, so that marking under the lock does not wait for
    /// that.
    void touch_map(const captured_volume &v, index_range blocks) const;
    /// The regions may differ from now on. Their extents are active.
    void mark_locked(captured_volume &v, index_range regions);
    void touch_epoch_locked(captured_volume &v, std::uint64_t word, std::uint64_t mask);
    void mark_pages_locked(captured_volume &v, index_range pages);
    /// Makes pending = all dirty regions; gives the lock up now and then.
    void gather_pending(std::unique_lock<std::mutex> &lock);
    void drop_verify_locked(captured_volume &v, byte_range range);
    /// Whether data of so many blocks fits into the open interval, for which it may get more room.
    bool fits_locked(std::uint64_t blocks);
    void ask_room_locked(std::uint64_t bytes);
    bool large_locked() const;
    void overflow_locked();
    void check_large_locked(); ///< asks for attention once an interval
    void note_client_write_locked(std::uint64_t bytes);
    void drop_open_locked();
    bool unchanged_locked(const captured_volume &v, std::uint64_t block, interval_id since) const;
    // What goes into the open interval goes through these.
    void record_data_locked(captured_volume &v, index_range blocks, bool want_before,
                            run_list &out) {
        // What the disk may read later is not what the DR site has.
        const bool old_known = !known_again_locked(v, blocks);
        stamps.changed(v.index, blocks, open->position.interval);
        open->reserve(v.index, blocks, want_before && old_known, out);
    }
    void record_zero_locked(captured_volume &v, index_range blocks) {
        known_again_locked(v, blocks);
        stamps.changed(v.index, blocks, open->position.interval);
        open->record_zero(v.index, blocks, v.blocks);
    }
    /// These blocks' content goes into the open interval. True: some were unreadable.
    bool known_again_locked(captured_volume &v, index_range blocks);
    void fall_back_locked(std::string reason);
    /// A change failed half-way: what the volume holds is unknown.
    void write_failed_locked(captured_volume &v, index_range blocks, const error &why);
    bool take_attention_locked() { return std::exchange(attention_due, false); }
    void ask_attention(bool needed) const {
        if (needed && attention) {
            attention();
        }
    }
    std::uint64_t pending_regions_locked() const;

    // The scan (capture_scan.cpp, capture_holes.cpp).
    /// A digest that rides in the open interval; dropped by the first write into its range.
    result<> put_verify_locked(captured_volume &v, const verify_entry &entry);
    /// Settles the hole that the range begins with; returns the data after it in the range.
    result<index_range> settle_hole(captured_volume &v, index_range regions,
                                    std::uint64_t &settled);

    // Requests.
    result<bool> write(captured_volume &v, std::uint64_t offset, bytes_view data, patience p);
    result<> zero(captured_volume &v, byte_range range, zero_options how);
    /// The same if there is nothing to do; false: zero() is needed.
    result<bool> zero_at_once(captured_volume &v, byte_range range, zero_options how);
    /// `with_times`: what times the file has is durable too.
    result<> sync_volume(captured_volume &v, bool with_times = false);

    // Bits that become clean.
    void rotate_epochs_locked();
    /// With durable_mutex held: all that the acknowledged position allows to become clean.
    void clear_acknowledged(std::unique_lock<std::mutex> &lock);
    void clear_older(std::unique_lock<std::mutex> &lock);
    bool clear_whole_page_locked(captured_volume &v, std::uint64_t page);
    void clear_page_locked(captured_volume &v, std::uint64_t page);

    // Upkeep.
    result<> open_volume(file_system &files, const capture_volume &config);
    result<> retire_idle(captured_volume &v, bool stopping);
    result<> close_volume(captured_volume &v);
    void look_for_others(captured_volume &v);
    void choose_sample(captured_volume &v); // these in capture_sample.cpp
    void sample_differed_locked(captured_volume &v);
    /// Of some other blocks, in no page cache, one can be read, or none was found: else the disk of
    /// the volume is gone.
    result<> prove_reads(captured_volume &v, std::set<std::uint64_t> bad);
    void find_idle_locked(captured_volume &v, std::uint64_t page, bool stopping, paged_bitmap &out);
    void free_dropped();
};

std::shared_ptr<block_device> make_capture_device(capture_core &group, captured_volume &v);

struct capture_group::impl : capture_core {};

} // namespace farshore
