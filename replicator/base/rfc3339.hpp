#pragma once
// Times that somebody typed or sent. to_rfc3339 (clock.hpp) prints them.

#include "replicator/base/clock.hpp"

#include <optional>
#include <string_view>

namespace farshore {

/// The year 2200: no clock of ours or of a peer shows more, and sums stay far from what nanoseconds
/// can count.
constexpr wall_time wall_time_max = std::chrono::sys_days(std::chrono::year(2200) / 1 / 1);

/// Strictly RFC 3339, section 5.6: a zone ("Z" or an offset) is part of it, "t" and "z" may be
/// small, a fraction has 1 to 9 digits, no other form of a number is one. Years 1970 to 2199;
/// second 60 only where a leap second can be, and it is the next minute's first. Nothing when the
/// text is something else.
std::optional<wall_time> parse_rfc3339(std::string_view text);

/// What to_rfc3339 prints of it: whole milliseconds.
constexpr wall_time as_printed(wall_time t) {
    return std::chrono::floor<std::chrono::milliseconds>(t);
}

} // namespace farshore
