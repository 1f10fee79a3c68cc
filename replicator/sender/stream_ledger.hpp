#pragma once
// What a group's stream is, at the primary, whoever receives it: which barriers were cut, and which
// of them somebody still has to get. What a DR site has of it is in its site_ledger. Values in,
// decisions out; nothing waits and nothing fails here. Home thread.
//
// Life of a stream
//   none -> prepare(): it has a name, and from here on may be known at a DR site -> record(): the ids
//   from `first` on are its barriers. cut() for each, in order; settled_through() for what every DR
//   site has -> end(): order was lost; the next prepare() makes another stream, with ids above all
//   of this one.

#include "replicator/format/position.hpp"
#include "replicator/session/status.hpp"

#include <cstdint>
#include <deque>

namespace farshore {

class stream_ledger {
  public:
    struct held_barrier {
        barrier_info barrier;
        std::uint64_t written_bytes = 0; ///< by clients, since the barrier before it
        bool consistent = false;
    };

    void prepare(stream_id stream);
    void record(interval_id first);
    /// Order was lost: what was cut and not settled counts no more.
    void end();

    /// The next barrier: ids go up by one from `first`.
    void cut(barrier_info barrier, bool consistent, std::uint64_t written_bytes);
    /// Every DR site durably holds these.
    void settled_through(interval_id barrier);

    bool recorded() const { return recorded_; }
    /// Grows with each end(): what pools bring back of a stream that ended is dropped.
    std::uint64_t epoch() const { return epoch_; }
    stream_id stream() const { return stream_; } ///< 0: none in this life
    interval_id first() const { return first_; }
    const barrier_info &last_cut() const { return last_cut_; } ///< over all streams
    /// Cut and not settled, in order.
    const std::deque<held_barrier> &held() const { return held_; }
    /// The oldest barrier that is held; when none is, the one that comes next.
    interval_id first_held() const;

  private:
    bool recorded_ = false;
    stream_id stream_;
    interval_id first_;
    std::deque<held_barrier> held_;
    std::uint64_t epoch_ = 0;
    barrier_info last_cut_;
};

} // namespace farshore
