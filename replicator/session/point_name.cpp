#include "replicator/session/point_name.hpp"

#include "replicator/base/rfc3339.hpp"
#include "replicator/format/point_label.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace farshore {
namespace {

std::optional<duration> parse_age(std::string_view text) {
    std::uint64_t count = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (failed != std::errc{} || count > 1'000'000'000) {
        return std::nullopt;
    }
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const auto n = static_cast<std::int64_t>(count);
    if (unit == "s")
        return std::chrono::seconds(n);
    if (unit == "m")
        return std::chrono::minutes(n);
    if (unit == "h" && n < 1'000'000)
        return std::chrono::hours(n);
    if (unit == "d" && n < 50'000)
        return std::chrono::hours(24 * n);
    return std::nullopt;
}

} // namespace

result<point_name> parse_point_name(const std::string &text) {
    if (text.empty() || text == "latest") {
        return point_latest{};
    }
    if (text == "latest-app") {
        return point_latest_app{};
    }
    if (text.front() == '-') {
        if (const auto age = parse_age(std::string_view(text).substr(1))) {
            return point_by_age{*age};
        }
    } else if (std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; })) {
        std::uint64_t id = 0;
        if (std::from_chars(text.data(), text.data() + text.size(), id).ec == std::errc{}) {
            return point_by_id{id};
        }
    } else if (const auto time = parse_rfc3339(text)) {
        return point_by_time{*time};
    }
    if (is_bookmark_name(text)) {
        return point_by_label{text};
    }
    return fail(errc::invalid,
                fmt::format("\"{}\" names no point: give an id from `farshore points`, a time like "
                            "2026-01-31T18:00:00Z, latest, latest-app, an age like -5m, or a "
                            "bookmark's name",
                            text));
}

std::optional<std::size_t> choose_point(const point_name &name,
                                        std::span<const dated_point> points) {
    std::optional<std::size_t> chosen;
    if (const auto *by_time = std::get_if<point_by_time>(&name)) {
        for (std::size_t i = 0; i < points.size(); ++i) {
            const wall_time time = as_printed(points[i].time);
            if (time <= by_time->time && (!chosen || time >= as_printed(points[*chosen].time))) {
                chosen = i;
            }
        }
    } else if (const auto *by_age = std::get_if<point_by_age>(&name)) {
        for (std::size_t i = 0; i < points.size(); ++i) {
            if (points[i].age >= by_age->age && (!chosen || points[i].age <= points[*chosen].age)) {
                chosen = i;
            }
        }
    }
    return chosen;
}

} // namespace farshore
