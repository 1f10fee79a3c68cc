#include "replicator/daemon/report_json.hpp"

#include "replicator/base/rfc3339.hpp"
#include "replicator/daemon/status_json.hpp"

#include <cmath>

namespace farshore {
namespace {

/// To the millisecond.
double seconds(duration d) { return std::round(seconds_of(d) * 1000.0) / 1000.0; }
json seconds(const std::optional<duration> &d) { return d ? json(seconds(*d)) : json(nullptr); }
json time_or_null(wall_time t) { return t == wall_time{} ? json(nullptr) : json(to_rfc3339(t)); }

json rpo_json(const std::vector<exposure_hour> &hours) {
    const rpo_figures f = rpo_of(hours);
    json list = json::array();
    for (const exposure_hour &h : hours) {
        const bool none = h.worst == duration{};
        list.push_back({{"time", to_rfc3339(h.begin)},
                        {"worst_seconds", none ? json(nullptr) : json(seconds(h.worst))},
                        {"watched_seconds", seconds(h.watched)},
                        {"connected_seconds", seconds(h.connected)},
                        {"without_point_seconds", seconds(h.without)}});
    }
    return {{"worst_seconds", seconds(f.worst)},
            {"worst_time", time_or_null(f.worst_at)},
            {"typical_seconds", seconds(f.typical)},
            {"watched_seconds", seconds(f.watched)},
            {"connected_seconds", seconds(f.connected)},
            {"without_point_seconds", seconds(f.without)},
            {"hours", std::move(list)}};
}

json rto_json(const std::vector<recorded_rehearsal> &rehearsals) {
    const rto_figures f = rto_of(rehearsals);
    return {{"passed", f.passed},
            {"failed", f.failed},
            {"not_run", f.not_run},
            {"longest_seconds", seconds(f.longest)},
            {"typical_seconds", seconds(f.typical)},
            {"last_passed", time_or_null(f.last_passed.value_or(wall_time{}))}};
}

json rehearsal_json(const recorded_rehearsal &r) {
    return {{"time", to_rfc3339(r.time)},
            {"test", r.name},
            {"point", r.ran() ? json(std::to_string(r.point.value)) : json(nullptr)},
            {"point_time", time_or_null(r.point_time)},
            {"kind", r.point_kind},
            {"bookmark", r.point_name},
            {"result", !r.ran()   ? "not_run"
                       : r.passed ? "passed"
                                  : "failed"},
            {"passed", r.passed},
            {"seconds", seconds(r.took)},
            {"message", r.message}};
}

} // namespace

json to_json(const recovery_report &r) {
    const kept_figures kept = kept_of(r.points);
    json bookmarks = json::array();
    for (const point_info &p : r.points) {
        if (!p.name.empty()) {
            bookmarks.push_back(to_json(p));
        }
    }
    json rehearsals = json::array();
    for (const recorded_rehearsal &one : r.rehearsals) {
        rehearsals.push_back(rehearsal_json(one));
    }
    const auto end = [&](bool oldest) {
        const point_info *p =
            r.points.empty() ? nullptr : (oldest ? &r.points.front() : &r.points.back());
        return p == nullptr ? json(nullptr) : json(to_rfc3339(p->time));
    };
    return {{"name", r.group},
            {"state", name_of(r.state)},
            {"since", to_rfc3339(r.from)},
            {"until", to_rfc3339(r.to)},
            {"points",
             {{"count", kept.points},
              {"app", kept.app},
              {"named", kept.named},
              {"pinned", kept.pinned},
              {"suspect", kept.suspect},
              {"damaged", kept.damaged},
              {"oldest", end(true)},
              {"newest", end(false)}}},
            {"bookmarks", std::move(bookmarks)},
            {"rpo", rpo_json(r.hours)},
            {"rto", rto_json(r.rehearsals)},
            {"rehearsals", std::move(rehearsals)},
            {"error", nullptr}};
}

} // namespace farshore
