#pragma once
// A volume's dirty map: the map file, its fine bits as shared memory, and the activity log.
//
// Fine bits survive a kill at once, since the mapping is the page cache. After a power cut they may
// be old; the activity log covers that (activity_log.hpp). A word of 64 bits is an extent.
//
// Cost where there is something to tell: a page of fine bits (2 GiB of the volume) whose regions
// are all dirty or all clean is said in one byte, its page state, and is not touched. A volume of
// 64 TiB that is all dirty costs 32 KiB of memory, not 128 MiB. Kill order: the bits of a page are
// made right first, then its state says that they count.
//
// Crash order at open: the fine bits are made right first, then the header says "this boot, not
// clean", then all is synced, before any write is served. At a clean stop: the volume with its
// times, then the bits, then the flag. The word "last write" is stored before each write begins.
//
// Threads: word(), touch(), dirty_regions() and note_write() from any thread, their answers about
// one moment; what changes the map is called under the group's lock. open() and mark_clean(): one
// thread, no other user. The other note_* and sync_last_write(): any thread but those that hold the
// group's lock.

#include "replicator/base/clock.hpp"
#include "replicator/capture/activity_log.hpp"
#include "replicator/capture/dirty_map_cases.hpp"
#include "replicator/capture/paged_bitmap.hpp"
#include "replicator/format/dirty_map_file.hpp"
#include "replicator/storage/file_system.hpp"

#include <atomic>
#include <bit>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace farshore {

file_mark mark_of(const file_identity &id, bool block_special);
file_times times_of(const file_identity &id);

/// The volume as it is found at a start, and when that is.
struct map_subject {
    std::uint64_t volume_bytes = 0;
    std::string boot_id;
    file_mark volume{};
    file_times times{};
    wall_time now{};
    wall_time boot_began{}; ///< 0: not known
};

class dirty_map {
  public:
    /// Opens the map at `path` or makes a new one in which everything is dirty, as judge_map()
    /// says. Errors: the file system's (no space: nothing was changed), errc::unsupported for a map
    /// of another version.
    static result<std::unique_ptr<dirty_map>> open(file_system &files, const std::string &path,
                                                   const map_subject &subject);

    const map_verdict &verdict() const { return verdict_; }
    const std::string &path() const { return file_->path(); }
    activity_log &activity() { return *activity_; }
    const activity_log &activity() const { return *activity_; }

    std::uint64_t words() const { return words_.size(); }
    std::uint64_t word(std::uint64_t extent) const {
        switch (state(extent / words_per_map_page)) {
        case map_page_state::clean:
            return 0;
        case map_page_state::mixed:
            return at(extent).load(std::memory_order_relaxed);
        case map_page_state::dirty:
            break;
        }
        return whole(extent);
    }
    /// Returns the bits that were not set before.
    std::uint64_t set(std::uint64_t extent, std::uint64_t mask);
    void clear(std::uint64_t extent, std::uint64_t mask);
    /// Makes the word's page writable, so that a later change under a lock does not wait for the
    /// file system. Changes nothing.
    void touch(std::uint64_t extent) const;
    void touch_state(std::uint64_t page) const; ///< the same of the page's state
    // By whole pages: words_per_map_page extents, as far as the volume goes.
    std::uint64_t pages() const { return states_.size(); }
    map_page_state state(std::uint64_t page) const;
    void set_page(std::uint64_t page);   ///< all of its regions are dirty
    void clear_page(std::uint64_t page); ///< none is
    std::uint64_t dirty_regions() const { return dirty_regions_.load(std::memory_order_relaxed); }
    /// All regions of the extent that lie in the volume.
    std::uint64_t whole(std::uint64_t extent) const;

    /// A write to the volume begins, or is still under way. Cheap: before every write.
    void note_write(wall_time now);
    /// The volume was synced with its times, which were these before it.
    void note_durable(const file_times &times);
    /// A sync of volume or map failed: what the kernel has dropped is not known. Durable if that is
    /// possible.
    void note_sync_failed();
    /// Somebody else used the volume beside us, or might have: the next start compares all of it.
    /// Durable if possible.
    void note_shared();
    /// Makes the time of the last write durable when that on the disk is a minute old.
    result<> sync_last_write();
    /// Durably: the fine bits, then the clean flag. The volume must be synced with its times, which
    /// are these, and out of use.
    result<> mark_clean(const file_times &times);

  private:
    dirty_map(std::unique_ptr<file> f, std::unique_ptr<shared_map> map, const map_layout &layout);
    static result<> make_new(file_system &files, const std::string &path, const map_layout &layout,
                             const std::string &boot_id);
    result<> begin(const map_subject &subject);
    result<paged_bitmap> read_activity();
    void begin_page(std::uint64_t page);
    void set_state(std::uint64_t page, map_page_state to);
    std::uint64_t regions_of_page(std::uint64_t page) const;
    void count(std::uint64_t page, std::uint64_t dirty);
    void store_state();
    void mark(bool map_state::*flag);
    std::atomic_ref<std::int64_t> last_write() const;

    std::atomic_ref<std::uint64_t> at(std::uint64_t extent) const {
        return std::atomic_ref(words_[extent]);
    }

    std::unique_ptr<file> file_;
    std::unique_ptr<shared_map> map_;
    map_layout layout_;
    std::span<std::uint8_t> states_;
    std::span<std::uint64_t> words_;
    std::vector<std::uint32_t> page_dirty_; ///< dirty regions of each page
    std::uint64_t regions_;
    std::atomic<std::uint64_t> dirty_regions_ = 0;
    map_verdict verdict_{};
    std::mutex state_mutex_; ///< guards state_ and the slots; held over no disk work
    map_state state_;
    std::int64_t last_write_synced_ = 0;
    std::unique_ptr<activity_log> activity_;
};

} // namespace farshore
