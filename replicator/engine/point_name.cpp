#include "replicator/engine/point_name.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fmt/format.h>

namespace farshore::engine {
namespace {

std::optional<duration> parse_age(std::string_view text) {
    std::uint64_t count = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (failed != std::errc{} || count > 1'000'000'000) {
        return std::nullopt;
    }
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const auto n = static_cast<std::int64_t>(count);
    if (unit == "s") return std::chrono::seconds(n);
    if (unit == "m") return std::chrono::minutes(n);
    if (unit == "h" && n < 1'000'000) return std::chrono::hours(n);
    if (unit == "d" && n < 50'000) return std::chrono::hours(24 * n);
    return std::nullopt;
}

std::optional<wall_time> parse_time(const std::string &text) {
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, consumed = 0;
    double second = 0;
    if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%lf%n", &year, &month, &day, &hour, &minute, &second,
                    &consumed) != 6) {
        return std::nullopt;
    }
    const std::string zone = text.substr(static_cast<std::size_t>(consumed));
    int zone_minutes = 0;
    if (zone != "Z" && zone != "z") {
        char sign = 0;
        int h = 0, m = 0, used = 0;
        if (std::sscanf(zone.c_str(), "%c%2d:%2d%n", &sign, &h, &m, &used) != 3 ||
            static_cast<std::size_t>(used) != zone.size() || (sign != '+' && sign != '-')) {
            return std::nullopt;
        }
        zone_minutes = (h * 60 + m) * (sign == '-' ? -1 : 1);
    }
    const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!date.ok() || hour > 23 || minute > 59 || !(second >= 0 && second < 61)) {
        return std::nullopt;
    }
    return wall_time(std::chrono::sys_days(date)) + std::chrono::hours(hour) + std::chrono::minutes(minute - zone_minutes) +
           std::chrono::nanoseconds(static_cast<std::int64_t>(second * 1e9));
}

} // namespace

result<point_name> parse_point_name(const std::string &text, wall_time now) {
    if (text.empty() || text == "latest") {
        return point_latest{};
    }
    if (text.front() == '-') {
        if (const auto age = parse_age(std::string_view(text).substr(1))) {
            return point_by_time{now - *age};
        }
    } else if (std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; })) {
        std::uint64_t id = 0;
        if (std::from_chars(text.data(), text.data() + text.size(), id).ec == std::errc{}) {
            return point_by_id{id};
        }
    } else if (const auto time = parse_time(text)) {
        return point_by_time{*time};
    }
    return fail(errc::invalid, fmt::format("\"{}\" names no point: give an id from `farshore points`, a time like "
                                           "2026-01-31T18:00:00Z, latest, or an age like -5m",
                                           text));
}

} // namespace farshore::engine
