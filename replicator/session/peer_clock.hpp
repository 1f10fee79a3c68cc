#pragma once
// What is known of the other site's clock. Each side says its own in hello or welcome and in every
// heartbeat; nobody sets a clock by it. It tells the operator that clocks differ, and how old a
// point is that is dated by another clock.
//
// Rule: nothing that can't be undone follows from it alone (replica/retention_clock.hpp). Pure.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace farshore {

/// What a hello, welcome or heartbeat says of a clock.
std::uint64_t clock_ms_of(wall_time t);

class peer_clock {
  public:
    /// Beyond this the operator is told.
    static constexpr duration difference_max = std::chrono::minutes(2);

    /// `there`: what it said, `here`: the own clock when it came. errc::corrupt for a time that no
    /// clock shows.
    result<> heard(std::uint64_t there_ms, wall_time here);
    /// Own clock minus the other one; what was heard last stays when the line goes down.
    std::optional<duration> difference() const { return difference_; }
    /// Names the amount; nothing while the clocks agree or nothing was heard.
    std::optional<std::string> warning() const;

    /// How long ago, by the own clock, a barrier was cut that arrived here at `arrival` (1970: not
    /// known) and says it was cut at `time`: by the older of the two. Its own time is corrected
    /// only where the clocks are known to differ: it is the one that tells of a backlog.
    duration age_of(wall_time time, wall_time arrival, wall_time now) const;

  private:
    std::optional<duration> difference_;
};

} // namespace farshore
