#pragma once
// When something that is done again and again is due: every so often, or at a time of day of this
// host. Pure; the clock and the zone are parameters.
//
//   situation                                  due
//   never done, `every`                        now
//   never done, `at`                           the next such time of day
//   done, and the next time is to come         then
//   the next time passed, once or many times   now: once, then it goes on from now
//   the wall clock was set back                as if it had been done now
//   `at` on a day without that time of day     as much later as the clock was set on
//   `at` on a day that has it twice            the first of both

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <functional>
#include <optional>
#include <string_view>

namespace farshore {

struct schedule {
    duration every{};             ///< positive, or:
    std::optional<duration> at{}; ///< since midnight, local time; `every` does not count then
};

/// How far local time is ahead of UTC at an instant.
using time_zone = std::function<duration(wall_time)>;
/// Of this host, by TZ and /etc/localtime as they are now.
duration local_zone(wall_time at);

/// What is remembered from now on as the time when it was last begun. Called at each look; what it
/// changes (a first look at an `at`, a clock that was set back) the owner keeps like a run.
std::optional<wall_time> settle_last(const schedule &s, std::optional<wall_time> last,
                                     wall_time now);
/// `last`: as settled. Never before `now`; it is due when it is `now`.
wall_time next_due(const schedule &s, std::optional<wall_time> last, wall_time now,
                   const time_zone &zone);

/// Since midnight, from "02:30". errc::invalid.
result<duration> parse_time_of_day(std::string_view text);

} // namespace farshore
