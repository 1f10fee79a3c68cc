#pragma once
// Time as a group at the DR site knows it: how old its points are, and what its retention rules go
// by (replica/retention_clock.hpp). Outlives sessions and openings of the copy. Home thread.

#include "replicator/base/async.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/replica/retention_clock.hpp"
#include "replicator/session/peer_clock.hpp"

#include <optional>
#include <string>

namespace farshore {

class group_clock {
  public:
    explicit group_clock(time_source &time) : time_(time) {}

    /// What the primary says of its clock.
    result<> heard(std::uint64_t clock_ms) { return peer_.heard(clock_ms, time_.wall()); }
    std::optional<std::string> warning() const { return peer_.warning(); }
    /// The copy's newest point, whenever it may be another one.
    void note_newest(const std::optional<replica_point> &point);
    duration age_of(const replica_point &p) const;
    /// `connected`: a session is up, so that the difference of the clocks was told in it.
    wall_time retention_time(const replica_position &at, bool connected);
    /// The arrival of what is journaled now.
    wall_time stamp(const replica_position &at, bool connected);

  private:
    time_source &time_;
    peer_clock peer_;
    retention_clock retention_;
    interval_id newest_seen_; ///< newest point, and since when it is that, by the steady clock
    time_point newest_since_{};
};

} // namespace farshore
