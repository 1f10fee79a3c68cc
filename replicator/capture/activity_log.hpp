#pragma once
// Which extents (4 MiB) of a volume may have data on its way to the disk. An extent is durably
// active before a write into it is let through; after a power cut the active ones are compared.
//
// Why not each region's bit: a first touch costs an fdatasync, so first touches must be rare.
// Extents are coarse, stay active while they are in use, are activated a little ahead, and all
// writers that wait share one fdatasync (group commit: the first of them writes for all). Idea:
// DRBD's activity log.
//
// Crash order of an activation:
//   1. the sector with the bit set is written,
//   2. fdatasync,
//   3. the bit is set in memory,
//   4. writers go on.
// A torn sector (it is one disk sector) is the old or the new one; the writers of the new bit were
// not let through.
//
// Order of a retirement:
//   1. the owner makes sure that all data of the extent is on disk and its regions are clean,
//   2. the bit is cleared in memory (later writers activate again),
//   3. the sector is written, without sync: if that write is lost, the extent is compared once too
//      often.
//
// A failed write or sync of the map file is final: extents that are active stay usable, others are
// not.
//
// Threads: the owner's mutex, which activate() and retire() give up while they write.

#include "replicator/base/error.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/capture/paged_bitmap.hpp"
#include "replicator/format/dirty_map_file.hpp"
#include "replicator/storage/file_system.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

namespace farshore {

class activity_log {
  public:
    /// `file`: the map file, kept alive by the caller. `active`: what the file says now, a bit an
    /// extent.
    activity_log(file &map_file, const map_layout &layout, paged_bitmap active);

    bool active(std::uint64_t extent) const { return active_.test(extent); }
    bool all_active(index_range e) const { return active_.all_in(e.first, e.last); }
    bool any_active(index_range e) const { return active_.any_in(e.first, e.last); }
    /// The first active extent in the range, if any.
    std::optional<std::uint64_t> next_active(index_range e) const {
        return active_.next_set(e.first, e.last);
    }
    std::uint64_t active_count() const { return active_.count(); }

    /// Asks for the extents at the next commit(), without waiting.
    void want(index_range extents);
    bool wants() const { return want_first_ < want_last_; }
    /// Returns when all wanted extents are durably active. Errors: the map file's; final.
    result<> commit(std::unique_lock<std::mutex> &lock);
    /// Returns when the extents, and a few that probably come next, are durably active. `lock` is
    /// given up meanwhile.
    result<> activate(std::unique_lock<std::mutex> &lock, index_range extents);
    /// Takes those of the extents out for which `idle` is true under the lock, which is given up
    /// now and then.
    template <class Predicate>
    result<> retire(std::unique_lock<std::mutex> &lock, const paged_bitmap &extents,
                    Predicate idle) {
        constexpr std::uint64_t each_hold = 8 * extents_per_sector;
        for (std::uint64_t first = 0; first < extents_; first += each_hold) {
            const std::uint64_t last = std::min(first + each_hold, extents_);
            if (!extents.any_in(first, last)) {
                continue;
            }
            wait_turn(lock);
            std::vector<std::uint64_t> retired;
            for (auto e = extents.next_set(first, last); e; e = extents.next_set(*e + 1, last)) {
                if (active(*e) && !wanted_.test(*e) && idle(*e)) {
                    retired.push_back(*e);
                }
            }
            FS_CHECK(write_retired(lock, retired));
        }
        return {};
    }

    /// Something in the extent was newly made dirty. Idle extents are those that were not for a
    /// while.
    void note_use(std::uint64_t extent) { used_.set_word(extent / 64, 1ULL << (extent % 64)); }
    void note_use(index_range e) { used_.set_range(e.first, e.last); }
    bool used(std::uint64_t extent) const { return used_.test(extent); }
    bool any_used(index_range e) const { return used_.any_in(e.first, e.last); }
    void forget_use(std::uint64_t extent) { used_.clear_word(extent / 64, 1ULL << (extent % 64)); }

  private:
    void wait_turn(std::unique_lock<std::mutex> &lock);
    result<> lead(std::unique_lock<std::mutex> &lock);
    result<> write_retired(std::unique_lock<std::mutex> &lock,
                           const std::vector<std::uint64_t> &retired);
    /// Writes sectors as `images` has them; without the lock.
    struct image {
        std::uint32_t sector;
        activity_bits bits;
    };
    image image_of(std::uint64_t sector) const;
    result<> write(const std::vector<image> &images);
    index_range with_next(index_range extents) const;

    file &file_;
    const std::uint64_t offset_;
    const std::uint64_t extents_;
    paged_bitmap active_; ///< durable; writers may go on
    paged_bitmap wanted_;
    paged_bitmap used_;
    std::uint64_t want_first_ = 0; ///< all wanted extents lie in [want_first_, want_last_)
    std::uint64_t want_last_ = 0;
    bool busy_ = false; ///< somebody writes sectors; their images stay true meanwhile
    std::condition_variable idle_;
    std::optional<error> failed_;
};

} // namespace farshore
