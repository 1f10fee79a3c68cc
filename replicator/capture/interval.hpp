#pragma once
// An interval in memory: all writes between two barriers, folded; per block only the last version,
// with the block's content at the previous barrier where it was free to get.
//
// Memory: pages come from an arena of the interval; `memory_bytes` counts all of it. Large TRIM and
// WRITE_ZEROES are kept as runs of whole regions, not per block.
//
// Threads: slots are reserved under the group's lock (capture_group); content is copied in outside
// the lock by the writers, counted in `writers`; the encoder reads only after the interval was
// closed and `writers` is zero.

#include "replicator/base/bytes.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/format/change.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/format/position.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

namespace farshore {

class interval {
  public:
    explicit interval(stream_position position);
    ~interval();

    stream_position position() const;
    bool empty() const; ///< no change and no verify entry
    std::uint64_t memory_bytes() const;
    std::uint64_t data_blocks() const;
    std::uint64_t written_bytes() const; ///< what clients wrote, before folding
    /// When the first client write entered; nullopt when only a scan or nothing did.
    std::optional<time_point> first_write() const;

    /// Set at the close: the barrier's facts except what only the encoder knows.
    const barrier &commit() const;
    time_point closed_at() const;

    /// True when every writer that reserved a slot has copied its content (call after the close).
    bool settled() const;
    /// Blocks until settled; writers never wait for anything, so this is short (a copy of 4 KiB
    /// each).
    void wait_settled() const;
    /// All changes sorted by (volume, block), non-overlapping; views live as long as the interval.
    /// Requires settled().
    std::vector<block_change> changes() const;

  private:
    friend class capture_group;
    struct impl;
    explicit interval(std::unique_ptr<impl> inside);
    std::unique_ptr<impl> impl_;
};

} // namespace farshore
