#include "replicator/base/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <string>

namespace farshore {
namespace {

constexpr duration day = std::chrono::hours(24);

/// The instant at which clocks of the zone show `local` (ns since 1970 as they show it).
wall_time instant_of(duration local, const time_zone &zone) {
    const wall_time as_utc(local);
    // Offsets change hours apart at most once: what held before and what holds after is all.
    const duration before = zone(as_utc - day);
    const duration after = zone(as_utc + day);
    const wall_time first = as_utc - std::max(before, after);
    const wall_time second = as_utc - std::min(before, after);
    if (zone(first) == std::max(before, after)) {
        return first;
    }
    return zone(second) == std::min(before, after) ? second : as_utc - before;
}

wall_time next_time_of_day(duration at, wall_time after, const time_zone &zone) {
    const duration local = after.time_since_epoch() + zone(after);
    const duration midnight = std::chrono::floor<std::chrono::days>(local);
    const wall_time today = instant_of(midnight + at, zone);
    return today > after ? today : instant_of(midnight + day + at, zone);
}

} // namespace

duration local_zone(wall_time at) {
    const std::time_t t = std::chrono::system_clock::to_time_t(
        std::chrono::time_point_cast<std::chrono::system_clock::duration>(at));
    std::tm parts{};
    return ::localtime_r(&t, &parts) != nullptr ? duration(std::chrono::seconds(parts.tm_gmtoff))
                                                : duration{};
}

std::optional<wall_time> settle_last(const schedule &s, std::optional<wall_time> last,
                                     wall_time now) {
    const bool anew = last ? *last > now : s.at.has_value();
    return anew ? now : last;
}

wall_time next_due(const schedule &s, std::optional<wall_time> last, wall_time now,
                   const time_zone &zone) {
    const auto from = settle_last(s, last, now);
    if (!from) {
        return now;
    }
    return std::max(now, s.at ? next_time_of_day(*s.at, *from, zone) : *from + s.every);
}

result<duration> parse_time_of_day(std::string_view text) {
    const auto digit = [&](std::size_t i) {
        return std::isdigit(static_cast<unsigned char>(text[i])) != 0 ? text[i] - '0' : 100;
    };
    if (text.size() == 5 && text[2] == ':') {
        const int hour = digit(0) * 10 + digit(1);
        const int minute = digit(3) * 10 + digit(4);
        if (hour < 24 && minute < 60) {
            return std::chrono::hours(hour) + std::chrono::minutes(minute);
        }
    }
    return fail(errc::invalid, fmt::format("\"{}\" is no time of day; write it like \"02:30\"",
                                           std::string(text)));
}

} // namespace farshore
