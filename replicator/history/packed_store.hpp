#pragma once
// The packed stretches of a group, in one directory: `packed/` beside undo/ and rollback/. Together
// they stand for a run of segments of undo/, without a gap; what comes after it stands in undo/.
//
// Crash order. A stretch is written whole to a name of its own, synced, renamed to
// FIRST-LAST-MERGES.pack and its name synced; then readers see it; only then what it stands for is
// removed (segments of undo/, or the stretches that it was merged from), without a sync. So both
// may be there after a crash; they say the same, and what a wider or more often merged stretch
// stands for is removed at open. So is what is older than a gap: it was dropped, and came back, or
// a stretch in between is damaged and with it all that is older.
//
// Threads: list() and used_bytes() from any thread; all else by one thread at a time.

#include "replicator/history/stretch.hpp"

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace farshore {

using stretch_list = std::vector<std::shared_ptr<const stretch>>; ///< oldest first
/// Of a list's stretches, in its order; null: it has none that can be read.
using filter_list = std::vector<std::shared_ptr<const packed_filter>>;

/// Segments of undo/ up to this one are in stretches; 0: none is.
inline std::uint64_t covered_segment(const stretch_list &stretches) {
    return stretches.empty() ? 0 : stretches.back()->foot().last_segment;
}

class packed_store {
  public:
    /// Makes the directory if absent. Errors: the disk's, errc::unsupported.
    static result<std::unique_ptr<packed_store>> open(file_system &files, std::string directory,
                                                      const std::array<std::byte, 16> &identity);

    std::shared_ptr<const stretch_list> list() const;
    std::uint64_t used_bytes() const;

    /// Where the next stretch is to be written; what was there before is of no use.
    std::string draft_path() const;
    /// A finished file at draft_path(): durable under its name on return, with what it stands for
    /// still there. It joins what is there, or stands for the neighbours that it was merged from:
    /// errc::invalid otherwise, and the draft is removed.
    result<std::shared_ptr<const stretch>> adopt_draft();
    /// Readers have the new list: files of stretches that others stand for go.
    result<> remove_covered();
    /// Stretches whose facts are all of intervals up to `needed` go, oldest first. Not durable:
    /// they may come back, and are dropped again.
    result<> drop_before(interval_id needed);
    /// All of it goes, durably.
    result<> clear();

  private:
    packed_store(file_system &files, std::string directory,
                 const std::array<std::byte, 16> &identity)
        : files_(files), directory_(std::move(directory)), identity_(identity) {}
    result<> load();
    result<> remove_file(const std::string &path);
    void set_list(stretch_list list);

    file_system &files_;
    std::string directory_;
    std::array<std::byte, 16> identity_;
    std::vector<std::string> covered_; ///< paths to be removed

    mutable std::mutex mutex_; ///< guards what follows
    std::shared_ptr<const stretch_list> list_ = std::make_shared<const stretch_list>();
    std::uint64_t used_bytes_ = 0;
};

} // namespace farshore
