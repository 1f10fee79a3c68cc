#pragma once
// Time as the product sees it: one steady time for deadlines and rates, one wall time for points.
// Decisions take time as a parameter; only shells ask a clock. The waiting half of a clock needs
// Asio and stands in async.hpp.

#include <chrono>
#include <string>

namespace farshore {

using duration = std::chrono::nanoseconds;
/// Steady; only differences have a meaning.
using time_point = std::chrono::time_point<std::chrono::steady_clock, duration>;
/// UTC.
using wall_time = std::chrono::time_point<std::chrono::system_clock, duration>;

/// "2026-01-01T00:00:00.000Z": RFC 3339 in UTC with milliseconds.
std::string to_rfc3339(wall_time t);

/// The first multiple of `every` after `now`. What each of many groups does now and then is done at
/// the same time, so that an idle daemon wakes up once, and not once for each of them.
constexpr time_point next_tick(time_point now, duration every) {
    return time_point((now.time_since_epoch() / every + 1) * every);
}

constexpr double seconds_of(duration d) { return std::chrono::duration<double>(d).count(); }

} // namespace farshore
