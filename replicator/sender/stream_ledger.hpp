#pragma once
// What a group's stream is, at the primary: which barriers were cut, which of them the DR site
// durably holds, which are points. Values in, decisions out; nothing waits and nothing fails here.
// Home thread.
//
// Life of a stream
//   none -> prepare(): it has a name, and from here on may be known at the DR site -> record(): the ids from `first` on
//   are its barriers. cut() for each, in order; take() for what the DR site acknowledges -> end(): order was lost; the
//   next prepare() makes another stream, with ids above all before.
//
// One truth for "the order is kept" (`order`): the ledger records, and capture has not fallen to
// tracking by itself.
//   recorded   capture records   | order
//   no         -                 | lost      only which regions changed is known
//   yes        no                | lost      seen at once, ended by who looks next
//   yes        yes, no point yet | making    a catch-up is under way
//   yes        yes, with a point | kept

#include "replicator/format/position.hpp"
#include "replicator/session/status.hpp"

#include <cstdint>
#include <deque>
#include <optional>

namespace farshore {

enum class stream_order : std::uint8_t {
    lost,   ///< what changed is known by region alone
    making, ///< unbroken, and the DR site has no consistent barrier of it yet
    kept,   ///< and it has one
};

/// What an acknowledgement told.
struct newly_durable {
    bool advanced = false;             ///< at least one barrier of this stream more is durable
    std::optional<barrier_info> point; ///< the newest consistent one of them
    std::optional<barrier_info>
        first_point; ///< the oldest, if no barrier of this stream was one before
};

class stream_ledger {
  public:
    /// At a start: what both sites are known to have had.
    void found(stream_position acknowledged) { durable_ = acknowledged; }

    void prepare(stream_id stream, stream_position theirs);
    void record(interval_id first);
    /// Order was lost: what was cut and is not durable counts no more. What was told of the DR site
    /// stays.
    void end();

    /// The next barrier: ids go up by one from `first`.
    void cut(barrier_info barrier, bool consistent, std::uint64_t written_bytes);
    /// Positions as the DR site tells them; they go up within a stream (peer_claims.hpp).
    newly_durable take(stream_position durable, stream_position applied, interval_id point);

    bool recorded() const { return recorded_; }
    stream_order order(bool capture_records) const {
        return !recorded_ || !capture_records ? stream_order::lost
               : durable_point_.value == 0    ? stream_order::making
                                              : stream_order::kept;
    }
    /// A consistent barrier of this stream is durable.
    bool has_point() const { return durable_point_.value != 0; }
    bool point_in_flight() const;
    /// Grows with each end(): what pools bring back from before is dropped.
    std::uint64_t epoch() const { return epoch_; }

    stream_id stream() const { return stream_; } ///< 0: none in this life
    interval_id first() const { return first_; }
    /// The oldest barrier that is not durable; when all are, the one that comes next.
    interval_id first_held() const;
    bool acknowledged_in_stream() const { return acknowledged_in_stream_; }
    const barrier_info &last_cut() const { return last_cut_; }
    std::size_t not_durable() const { return held_.size(); }
    /// What clients wrote in barriers that are not durable.
    std::uint64_t bytes_not_durable() const;

    stream_position durable() const { return durable_; }
    stream_position applied() const { return applied_; }
    interval_id applied_point() const { return applied_point_; }
    interval_id durable_point() const { return durable_point_; } ///< of this stream; 0: none
    const barrier_info &durable_barrier() const { return durable_barrier_; }
    std::optional<wall_time> durable_point_time() const {
        return durable_point_time_;
    } ///< over all streams

  private:
    struct held_barrier {
        barrier_info barrier;
        std::uint64_t written_bytes = 0;
        bool consistent = false;
    };

    // This stream.
    bool recorded_ = false;
    stream_id stream_;
    interval_id first_;
    std::deque<held_barrier> held_; ///< not durable
    interval_id durable_point_;
    bool acknowledged_in_stream_ = false;
    std::uint64_t epoch_ = 0;

    // Over all streams.
    barrier_info last_cut_;
    stream_position durable_, applied_;
    interval_id applied_point_;
    barrier_info durable_barrier_;
    std::optional<wall_time> durable_point_time_;
};

} // namespace farshore
