#pragma once
// What one DR site has of a group's stream, as it told: which barriers are durable there, applied,
// points. Values in, decisions out; home thread.
//
// One truth for "the order is kept" (order_of): the stream is recorded, capture has not fallen to
// tracking by itself, and the DR site has a consistent barrier of it.
//   recorded   capture records   a point | order
//   no         -                 -       | lost      only which regions changed is known
//   yes        no                -       | lost      seen at once, ended by who looks next
//   yes        yes               no      | making    a catch-up is under way
//   yes        yes               yes     | kept

#include "replicator/sender/stream_ledger.hpp"

#include <optional>

namespace farshore {

enum class stream_order : std::uint8_t {
    lost,   ///< what changed is known by region alone
    making, ///< unbroken, and the DR site has no consistent barrier of it yet
    kept,   ///< and it has one
};

/// What an acknowledgement told.
struct newly_durable {
    bool advanced = false;             ///< at least one barrier of the stream more is durable
    std::optional<barrier_info> point; ///< the newest consistent one of them
    /// The oldest, if no barrier of this stream was one before.
    std::optional<barrier_info> first_point;
};

class site_ledger {
  public:
    /// At a start: what both sites are known to have had.
    void found(stream_position acknowledged) { durable_ = acknowledged; }
    /// A stream was prepared for it: what it has now.
    void begin(stream_position theirs) { durable_ = theirs; }
    /// Order was lost. What the DR site told stays.
    void end();

    /// Positions as it tells them; they go up within a stream (peer_claims.hpp).
    newly_durable take(const stream_ledger &stream, stream_position durable,
                       stream_position applied, interval_id point);

    /// A consistent barrier of this stream is durable there.
    bool has_point() const { return durable_point_.value != 0; }
    /// One that it does not have is held for it.
    bool point_in_flight(const stream_ledger &stream) const;
    /// Barriers that are held for it, and what clients wrote in them.
    std::size_t not_durable(const stream_ledger &stream) const;
    std::uint64_t bytes_not_durable(const stream_ledger &stream) const;

    bool acknowledged_in_stream() const { return acknowledged_in_stream_; }
    stream_position durable() const { return durable_; }
    stream_position applied() const { return applied_; }
    interval_id applied_point() const { return applied_point_; }
    interval_id durable_point() const { return durable_point_; } ///< of this stream; 0: none
    const barrier_info &durable_barrier() const { return durable_barrier_; }
    /// Over all streams.
    std::optional<wall_time> durable_point_time() const { return durable_point_time_; }

  private:
    interval_id has_through_; ///< of this stream it has durably what was cut until here
    interval_id durable_point_;
    bool acknowledged_in_stream_ = false;

    // Over all streams.
    stream_position durable_, applied_;
    interval_id applied_point_;
    barrier_info durable_barrier_;
    std::optional<wall_time> durable_point_time_;
};

stream_order order_of(const stream_ledger &stream, const site_ledger &site, bool capture_records);

} // namespace farshore
