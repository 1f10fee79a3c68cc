#include "replicator/session/peer_clock.hpp"

#include "replicator/base/rfc3339.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

std::string amount(duration d) {
    const double seconds = seconds_of(d);
    if (seconds < 2 * 3600) {
        return fmt::format("{:.0f} min", seconds / 60);
    }
    return seconds < 3 * 86400 ? fmt::format("{:.1f} h", seconds / 3600)
                               : fmt::format("{:.0f} d", seconds / 86400);
}

} // namespace

std::uint64_t clock_ms_of(wall_time t) {
    const auto ms = std::chrono::floor<std::chrono::milliseconds>(t.time_since_epoch()).count();
    return ms < 0 ? 0 : static_cast<std::uint64_t>(ms);
}

result<> peer_clock::heard(std::uint64_t there_ms, wall_time here) {
    const auto limit =
        std::chrono::floor<std::chrono::milliseconds>(wall_time_max.time_since_epoch());
    if (there_ms >= static_cast<std::uint64_t>(limit.count())) {
        return fail_peer(errc::corrupt,
                         fmt::format("a clock that shows {} ms since 1970", there_ms));
    }
    difference_ = here - wall_time(std::chrono::milliseconds(static_cast<std::int64_t>(there_ms)));
    return {};
}

std::optional<std::string> peer_clock::warning() const {
    if (!difference_ || (*difference_ < difference_max && *difference_ > -difference_max)) {
        return std::nullopt;
    }
    const bool ahead = *difference_ > duration::zero();
    return fmt::format(
        "the clock of this site is {} {} the other site's; points are named by the primary's "
        "clock, their "
        "age counts from their arrival at the DR site: set the clocks right (chronyc tracking)",
        amount(ahead ? *difference_ : -*difference_), ahead ? "ahead of" : "behind");
}

duration peer_clock::age_of(wall_time time, wall_time arrival, wall_time now) const {
    wall_time cut = std::clamp(time, wall_time{}, wall_time_max);
    if (difference_ && (*difference_ >= difference_max || *difference_ <= -difference_max)) {
        cut = std::clamp(cut + *difference_, wall_time{}, wall_time_max);
    }
    const wall_time born = arrival == wall_time{} ? cut : std::min(cut, arrival);
    return std::max(now - born, duration::zero());
}

} // namespace farshore
