#pragma once
// Loans: blocks of other groups' replicas, copied for intervals of this group that will refer to
// them. The other group goes on meanwhile; the copy stays until no replay can need it.
//
// A file of 4096-byte slots behind a header, used as a ring. A loan belongs to one interval; it may
// go when both commit records are past that interval (release). The header has the newest interval
// that was lent to. After a restart nothing says which slots are in use, so nothing is lent until
// the commit records are past that one; what was lent stays good, also for intervals that had not
// arrived.
//
// Durability: a loan is durable when keep() returns. Format: format/loan_header.hpp.
//
// Threads: any.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/position.hpp"
#include "replicator/storage/file_system.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace farshore {

class loan_store {
  public:
    /// Makes the file if there is none. `released`: as in release(). errc::unsupported: made by a
    /// newer version.
    static result<std::unique_ptr<loan_store>> open(file_system &files, const std::string &path,
                                                    std::uint64_t slots, interval_id released);

    std::uint64_t slots() const { return slots_; }
    /// Keeps whole blocks for an interval, in slots that follow each other (slot 0 after the last);
    /// returns the first. Nothing: no room now, or an interval before that of the newest loan.
    result<std::optional<std::uint64_t>> keep(interval_id user, bytes_view blocks);
    /// Zeroes where nothing was ever kept.
    result<> read(std::uint64_t slot, bytes_span out);
    /// No replay begins at or before `through` any more.
    result<> release(interval_id through);
    /// More than half of the slots are in use: commits help.
    bool crowded() const;
    /// Disk space taken.
    std::uint64_t used_bytes() const;

  private:
    struct batch {
        interval_id user;
        std::uint64_t count = 0;
    };
    loan_store(std::unique_ptr<file> data, std::uint64_t slots);
    result<> shrink_locked();
    result<> write_locked(std::uint64_t slot, bytes_view blocks);

    mutable std::mutex mutex_; // held over the copy into the page cache; few callers
    std::unique_ptr<file> data_;
    const std::uint64_t slots_;
    interval_id held_until_; ///< {0}: nothing of an earlier run is needed
    interval_id newest_;     ///< as the header says
    std::deque<batch> batches_;
    std::uint64_t first_ = 0; ///< slots ever released and ever given out since the file was empty
    std::uint64_t next_ = 0;
    std::uint64_t written_slots_ = 0; ///< the file is that long, beside the header
};

} // namespace farshore
