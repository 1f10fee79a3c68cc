#pragma once
// The sender's queue of encoded intervals that the DR site does not durably hold: in memory while
// that is short, in an interval log on disk when the line is slow or down. It need not survive a
// crash of the sender (the dirty map says what to compare then), so nothing is synced, and what an
// earlier process left is removed at open, unread.
//
// Memory holds at most `memory_bytes_max` (then everything that is not on disk yet is spilled);
// disk at most `disk_bytes_max`; beyond that push fails with errc::full and the caller falls to
// tracking.
//
// Threads: metadata is guarded by a mutex (the pool spills while home reads); push, load and tidy
// may block on the disk and are called on the disk pool; the rest never blocks. So what is dropped
// leaves the disk later, by tidy() or before the next spill.

#include "replicator/base/clock.hpp"
#include "replicator/log/interval_log.hpp"

#include <deque>
#include <memory>
#include <mutex>

namespace farshore {

/// Frames of one interval, shared between the queue and what is being sent.
using frame_list = std::shared_ptr<const std::vector<buffer>>;

struct spooled_interval {
    stream_position position;
    barrier commit;
    std::uint64_t bytes = 0; ///< frames with headers
    std::uint32_t frames = 0;
    time_point first_write{}; ///< of the oldest client write in it (its close, when none)
};

struct spool_options {
    std::string directory;
    std::uint64_t memory_bytes_max = 64ULL << 20;
    std::uint64_t disk_bytes_max = 20ULL << 30;
};

struct spool_use {
    std::uint64_t intervals = 0;
    std::uint64_t bytes = 0; ///< of all intervals held
    std::uint64_t memory_bytes = 0;
    std::uint64_t disk_bytes = 0; ///< on disk now
    std::optional<time_point> oldest_write;
};

class spool {
  public:
    static result<std::unique_ptr<spool>> open(file_system &files, spool_options options);

    /// Adds the next interval (ids grow by one within a stream). errc::full or a disk's error: not
    /// added.
    result<> push(const spooled_interval &what, std::vector<buffer> frames);
    /// The interval's frames, read back from disk if need be. errc::not_found when it was dropped
    /// meanwhile.
    result<frame_list> load(interval_id id);
    /// Facts of an interval held; nullopt when it isn't.
    std::optional<spooled_interval> find(interval_id id) const;
    std::optional<stream_position> first() const;
    std::optional<stream_position> last() const;
    /// Forgets intervals up to and including `upto`. Their space on disk is given back by tidy().
    void drop_through(interval_id upto);
    void clear();
    /// What is beyond it already is spilled by tidy().
    void set_memory_max(std::uint64_t bytes);
    /// Something waits for tidy().
    bool untidy() const;
    void tidy();
    spool_use use() const;

  private:
    spool(spool_options options, std::unique_ptr<interval_log> log);
    struct entry {
        spooled_interval what;
        frame_list frames; ///< empty: only on disk
        bool on_disk = false;
    };
    result<> spill();
    void tidy_with_disk();
    const entry *find_entry(interval_id id) const;

    spool_options options_;
    std::unique_ptr<interval_log> log_;
    mutable std::mutex mutex_; ///< the queue below; not held over disk work
    std::mutex disk_mutex_;    ///< one spill or trim of the log at a time
    std::deque<entry> queue_;
    std::uint64_t bytes_ = 0;
    std::uint64_t memory_bytes_ = 0;
    std::optional<interval_id> drop_wanted_; ///< on disk, up to it
    bool clear_wanted_ = false;              ///< all that is on disk
    bool spill_wanted_ = false;              ///< less may be in memory than is
};

} // namespace farshore
