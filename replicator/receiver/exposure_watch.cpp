#include "replicator/receiver/exposure_watch.hpp"

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

/// The catalogue took none for days, or a clock runs wild.
constexpr std::size_t hours_held_max = 100;

wall_time hour_of(wall_time t) { return std::chrono::floor<std::chrono::hours>(t); }

/// What a look says of the time from `since` before `at` to it.
exposure_hour seen_by(wall_time at, duration since, std::optional<duration> age, bool connected) {
    exposure_hour seen;
    seen.watched = since;
    seen.connected = connected ? since : duration{};
    seen.without = age ? duration{} : since;
    if (age && *age > duration{}) {
        seen.worst = *age;
        seen.worst_at = at;
    }
    return seen;
}

} // namespace

void exposure_watch::add(const exposure_hour &seen) {
    const auto at = std::ranges::find(hours_, seen.begin, &exposure_hour::begin);
    if (at == hours_.end()) {
        if (hours_.size() == hours_held_max) {
            hours_.erase(hours_.begin());
        }
        hours_.push_back(seen);
        return;
    }
    if (seen.worst > at->worst) {
        at->worst = seen.worst;
        at->worst_at = seen.worst_at;
    }
    at->watched += seen.watched;
    at->connected += seen.connected;
    at->without += seen.without;
}

void exposure_watch::look(wall_time wall, time_point now, std::optional<duration> age,
                          bool connected) {
    duration since = last_ ? now - *last_ : duration{};
    last_ = now;
    if (since > exposure_gap_max) {
        since = {};
    }
    const wall_time begin = hour_of(wall);
    if (const duration within = wall - begin; since > within) { // the rest was the hour before
        const auto then = age ? std::optional(*age - within) : std::nullopt;
        exposure_hour before = seen_by(begin, since - within, then, connected);
        before.begin = hour_of(begin - since + within);
        add(before);
        since = within;
    }
    exposure_hour seen = seen_by(wall, since, age, connected);
    seen.begin = begin;
    add(seen);
}

std::vector<exposure_hour> exposure_watch::take() { return std::exchange(hours_, {}); }

void exposure_watch::put_back(std::vector<exposure_hour> hours) {
    for (const exposure_hour &h : std::exchange(hours_, std::move(hours))) {
        add(h);
    }
}

} // namespace farshore
