#pragma once
// How exposed a group was, hour by hour (catalogue/recovery_record.hpp): pure. It is looked at each
// time before another point becomes the newest good one, which is when the age of the one before is
// greatest, and every exposure_keep_every besides: so the worst is not missed between looks.
//
// What the receiver did not see counts, too: the first look after a start finds the newest point as
// old as it became meanwhile. That time is not `watched`.

#include "replicator/catalogue/recovery_record.hpp"

#include <optional>
#include <vector>

namespace farshore {

constexpr duration exposure_keep_every = std::chrono::minutes(5); ///< goes to the catalogue
/// Between two looks: more than that was a machine that stood still, and nobody watched.
constexpr duration exposure_gap_max = std::chrono::minutes(15);

class exposure_watch {
  public:
    /// `wall` places it, `now` measures. `age`: of the newest good point; nothing: there is none.
    void look(wall_time wall, time_point now, std::optional<duration> age, bool connected);
    /// The hours as seen since the last take.
    std::vector<exposure_hour> take();
    /// What take() gave could not be kept.
    void put_back(std::vector<exposure_hour> hours);

  private:
    void add(const exposure_hour &seen);

    std::vector<exposure_hour> hours_; ///< two at most, but for clocks that are set
    std::optional<time_point> last_;
};

} // namespace farshore
