#include "replicator/receiver/group_clock.hpp"

#include <algorithm>

namespace farshore {

void group_clock::note_newest(const std::optional<replica_point> &point) {
    if (point && point->id != newest_seen_) {
        newest_seen_ = point->id;
        newest_since_ = time_.now();
    }
}

// The newest is at least as old as it has been the newest: a clock that is set back must not make
// it young.
duration group_clock::age_of(const replica_point &p) const {
    const duration age = peer_.age_of(p.time, p.arrival, time_.wall());
    return p.id == newest_seen_ ? std::max(age, time_.now() - newest_since_) : age;
}

wall_time group_clock::retention_time(const replica_position &at, bool connected) {
    std::optional<wall_time> newest;
    if (const auto &point = at.newest_kept) { // suspect or not: it is what may be lost
        newest =
            point->arrival == wall_time{} ? point->time : std::min(point->time, point->arrival);
    }
    const auto difference = connected ? peer_.difference() : std::nullopt;
    return retention_.advance(time_.now(), time_.wall(), newest, difference);
}

wall_time group_clock::stamp(const replica_position &at, bool connected) {
    static_cast<void>(retention_time(at, connected));
    retention_.stamped();
    return time_.wall();
}

} // namespace farshore
