#pragma once
// The time by which points grow too old. What retention drops is gone for good, so one look at a
// wall clock decides nothing: a clock that is a month ahead for half a minute must not cost a month
// of points.
//
// Rule: from one run to the next this time advances by no more than the time that really passed
// (the steady clock), and never beyond the wall clock. It may go back with the wall clock: then
// points only stay longer. At the first run of a life, when nobody knows how long the daemon was
// away, it begins where the newest point is (by the earlier of the two clocks that dated it). Once
// in a life, when the other site's clock agrees with the wall clock, it goes on from there: two
// clocks of two sites are more than one look. Not after the first arrival was stamped in this life:
// the wall clock may have been wrong then and be set right since, which would make that point old
// at once. For the same reason it is asked at each stamp: so no point of this life is ever older by
// it than the time that really passed.
//
// Pure. What it costs: after a restart with clocks that differ, points stay longer by as long as
// the daemon was down.

#include "replicator/base/clock.hpp"

#include <algorithm>
#include <optional>

namespace farshore {

class retention_clock {
  public:
    /// Clocks that differ by less agree.
    static constexpr duration agreement_max = std::chrono::minutes(2);

    /// From here on this life has arrivals of its own.
    void stamped() { agreed_ = true; }

    /// `newest`: the earlier of the newest point's own time and its arrival, where there is a
    /// point. `difference`: this site's clock minus the other's, where it was told in this session.
    wall_time advance(time_point now, wall_time wall, std::optional<wall_time> newest,
                      std::optional<duration> difference) {
        const wall_time begin = newest ? std::min(wall, *newest) : wall;
        reached_ =
            last_ ? std::min(wall, reached_ + std::max(now - *last_, duration::zero())) : begin;
        last_ = now;
        const bool agree =
            difference && *difference < agreement_max && *difference > -agreement_max;
        if (agree && !agreed_) {
            agreed_ = true;
            reached_ = wall;
        }
        return reached_;
    }

  private:
    wall_time reached_{};
    std::optional<time_point> last_;
    bool agreed_ = false;
};

} // namespace farshore
