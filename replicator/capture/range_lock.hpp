#pragma once
// Who works on which blocks of a volume: overlapping writes, trims and scans take turns in the
// order in which they came. That makes the order of the log the order of the device. Reads don't
// take part.
//
// A flat table, searched linearly: it has as many entries as requests are in flight, tens, and a
// search costs less than an update of any tree would.
//
// Threads: none of its own; the group's lock. Waiting is the caller's: after a leave() it asks
// again.

#include "replicator/base/geometry.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace farshore {

class range_table {
  public:
    using ticket = std::uint64_t; ///< never 0
    struct entry {
        ticket number = 0;
        index_range blocks;
    };

    /// A place that holds its blocks at once; nullopt when somebody holds or waits for one of them.
    std::optional<ticket> try_enter(index_range blocks);
    /// A place in the line; held once granted() says so.
    ticket enqueue(index_range blocks);
    bool granted(ticket number) const;
    void leave(ticket number);

    /// All who hold or wait, in no order.
    std::span<const entry> entries() const { return entries_; }

  private:
    std::vector<entry> entries_;
    ticket last_ = 0;
};

} // namespace farshore
