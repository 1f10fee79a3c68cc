#include "replicator/daemon/status_json.hpp"

#include "replicator/base/clock.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace farshore {
namespace {

template <class T>
json or_null(const std::optional<T> &value) {
    return value ? json(*value) : json(nullptr);
}

json barrier_json(const std::optional<barrier_info> &b) {
    return b ? json{{"id", b->id.value}, {"time", to_rfc3339(b->time)}} : json(nullptr);
}

/// Milliseconds are as exact as a lag is known; more digits would only look exact.
double rounded(double seconds) { return std::round(seconds * 1000) / 1000; }

json generation_json(const std::optional<generation_status> &g) {
    if (!g) {
        return nullptr;
    }
    const bool first = g->parent.empty();
    return {{"id", g->id},
            {"parent", first ? json(nullptr) : json(g->parent)},
            {"since_barrier", first ? json(nullptr) : json(g->since_barrier.value)}};
}

json point_or_null(const std::optional<point_info> &p) {
    return p ? json{{"id", p->id},
                    {"time", to_rfc3339(p->time)},
                    {"age_seconds", rounded(seconds_of(p->age))}}
             : json(nullptr);
}

json volumes(const std::vector<volume_status> &list, bool with_dirty) {
    json out = json::array();
    for (const auto &v : list) {
        json one{{"name", v.name}, {"size", v.size}};
        if (with_dirty) {
            one["dirty_bytes"] = v.dirty_bytes;
            one["unreadable_bytes"] = v.unreadable_bytes;
            one["unreadable"] = json::array();
            for (const byte_range &r : v.unreadable) {
                one["unreadable"].push_back({{"offset", r.offset}, {"length", r.length}});
            }
        }
        out.push_back(std::move(one));
    }
    return out;
}

template <class Groups>
json status_document(const char *role, const Groups &groups) {
    json list = json::array();
    for (const auto &g : groups) {
        list.push_back(to_json(g));
    }
    return {{"role", role}, {"version", FARSHORE_VERSION}, {"groups", std::move(list)}};
}

} // namespace

json to_json(const sender_group_status &g) {
    const json eta = g.sync_eta_seconds ? json(rounded(*g.sync_eta_seconds)) : json(nullptr);
    return {
        {"name", g.name},
        {"state", name_of(g.state)},
        {"serves", g.role.serves},
        {"generation", generation_json(g.role.generation)},
        {"peer", g.peer},
        {"connected", g.connected},
        {"lag",
         {{"seconds", rounded(g.lag_seconds)},
          {"bytes", g.lag_bytes},
          {"intervals", g.lag_intervals}}},
        {"last_barrier", barrier_json(g.last_barrier)},
        {"durable_barrier", barrier_json(g.durable_barrier)},
        {"bytes",
         {{"written", g.bytes_written},
          {"folded", g.bytes_folded},
          {"encoded", g.bytes_encoded},
          {"wire", g.bytes_wire}}},
        {"sync",
         {{"done_bytes", g.sync_done_bytes},
          {"total_bytes", g.sync_total_bytes},
          {"eta_seconds", eta},
          {"bytes_per_second", std::round(g.sync_bytes_per_second)}}},
        {"throttle",
         {{"limit_bytes_per_second", or_null(g.limit_bytes_per_second)},
          {"source", g.limit_source}}},
        {"spool", {{"used_bytes", g.spool_used_bytes}, {"limit_bytes", g.spool_limit_bytes}}},
        {"volumes", volumes(g.volumes, true)},
        {"warnings", g.warnings},
        {"error", or_null(g.error)},
    };
}

namespace {

json to_json(const std::optional<scrub_status> &s) {
    if (!s) {
        return nullptr;
    }
    return {
        {"running", s->running},
        {"done_bytes", s->done_bytes},
        {"total_bytes", s->total_bytes},
        {"last_finished", s->last_finished ? json(to_rfc3339(*s->last_finished)) : json(nullptr)},
        {"damaged", s->damaged},
        {"waits", or_null(s->waits)}};
}

} // namespace

namespace {

json to_json(const std::optional<tests_status> &t) {
    if (!t) {
        return nullptr;
    }
    return {{"time", to_rfc3339(t->time)},
            {"point", t->point},
            {"passed", t->passed},
            {"last_passed", t->last_passed ? json(to_rfc3339(*t->last_passed)) : json(nullptr)}};
}

} // namespace

json to_json(const scrub_outcome &s) {
    json damaged = json::array();
    for (const scrub_finding &f : s.damaged) {
        damaged.push_back(
            {{"what", f.what},
             {"volume", f.volume.empty() ? json(nullptr) : json(f.volume)},
             {"offset", f.range.offset},
             {"length", f.range.length},
             {"interval", f.interval.value == 0 ? json(nullptr) : json(f.interval.value)},
             {"points", f.points},
             {"point_count", f.point_count}});
    }
    return {{"group", s.group},
            {"read_bytes", s.read_bytes},
            {"compared", s.compared},
            {"not_compared", s.compared ? json(nullptr) : json(s.why_not)},
            {"damaged_count", s.findings},
            {"damaged", std::move(damaged)}};
}

namespace {

json to_json(const std::optional<served_status> &s) {
    if (!s) {
        return nullptr;
    }
    json volumes = json::array();
    for (const served_volume &v : s->volumes) {
        volumes.push_back({{"volume", v.volume}, {"nbd", v.uri}, {"dirty_bytes", v.dirty_bytes}});
    }
    return {{"generation", s->generation},
            {"since", to_rfc3339(s->since)},
            {"point", s->point},
            {"committed", s->settled},
            {"heard_of", s->heard_of},
            {"fenced", s->fenced},
            {"stream", s->stream},
            {"lag_seconds", rounded(s->lag_seconds)},
            {"volumes", std::move(volumes)},
            {"error", or_null(s->error)}};
}

} // namespace

json to_json(const receiver_group_status &g) {
    const json replay =
        !g.replay
            ? json(nullptr)
            : json{{"done_bytes", g.replay->done_bytes},
                   {"total_bytes", g.replay->total_bytes},
                   {"eta_seconds",
                    g.replay->eta_seconds ? json(rounded(*g.replay->eta_seconds)) : json(nullptr)}};
    return {
        {"name", g.name},
        {"state", name_of(g.state)},
        {"serves", g.role.serves},
        {"generation", generation_json(g.role.generation)},
        {"serving", to_json(g.serving)},
        {"connected", g.connected},
        {"applied_barrier", barrier_json(g.applied_barrier)},
        {"durable_barrier", barrier_json(g.durable_barrier)},
        {"replay", replay},
        {"points", g.points},
        {"suspect_points", g.suspect_points},
        {"damaged_points", g.damaged_points},
        {"scrub", to_json(g.scrub)},
        {"last_test", to_json(g.tests)},
        {"points_held_back", or_null(g.held_back)},
        {"opened",
         {{"count", g.opened.count}, {"oldest_seconds", rounded(g.opened.oldest_seconds)}}},
        {"oldest_point", point_or_null(g.oldest_point)},
        {"newest_point", point_or_null(g.newest_point)},
        {"journal", {{"used_bytes", g.journal_used_bytes}, {"limit_bytes", g.journal_limit_bytes}}},
        {"bytes", {{"wire", g.bytes_wire}, {"applied", g.bytes_applied}}},
        {"volumes", volumes(g.volumes, false)},
        {"warnings", g.warnings},
        {"error", or_null(g.error)},
    };
}

json sender_status_document(const std::vector<sender_group_status> &groups) {
    return status_document("sender", groups);
}

json receiver_status_document(const std::vector<receiver_group_status> &groups) {
    return status_document("receiver", groups);
}

json to_json(const wait_outcome &w) {
    return {{"group", w.group},
            {"point", w.point},
            {"barrier", w.barrier.value},
            {"time", to_rfc3339(w.time)},
            {"applied", w.applied}};
}

json to_json(const verify_outcome &v) {
    json differences = json::array();
    for (const auto &d : v.differences) {
        differences.push_back(
            {{"volume", d.volume}, {"offset", d.range.offset}, {"length", d.range.length}});
    }
    return {{"group", v.group},
            {"barrier", v.barrier.value},
            {"equal", v.equal},
            {"differences", std::move(differences)}};
}

json to_json(const bookmark_outcome &b) {
    json hooks = json::array();
    for (const hook_result &h : b.label.hooks) {
        json facts = json::object();
        for (const auto &[key, value] : h.facts) {
            facts[key] = value;
        }
        const double freeze_ms = std::chrono::duration<double, std::milli>(h.freeze).count();
        hooks.push_back({{"name", h.name},
                         {"type", h.type},
                         {"ok", h.ok},
                         {"freeze_ms", std::round(freeze_ms * 1000) / 1000},
                         {"message", h.message},
                         {"facts", std::move(facts)}});
    }
    json document = to_json(b.point);
    document["name"] = b.label.name;
    document["kind"] = name_of(b.label.kind);
    document["note"] = b.label.note;
    document["durable"] = b.durable;
    document["hooks"] = std::move(hooks);
    document["why_not_app"] = b.why_not_app.empty() ? json(nullptr) : json(b.why_not_app);
    return document;
}

json to_json(const test_info &t) {
    return {{"time", to_rfc3339(t.time)},
            {"name", t.name},
            {"passed", t.passed},
            {"seconds", rounded(seconds_of(t.took))},
            {"message", t.message}};
}

/// A text that can't be read is no reason for a document that can't be.
static json hooks_of(const point_info &p) {
    json hooks = json::parse(p.hooks, nullptr, false);
    return hooks.is_array() ? hooks : json::array();
}

json to_json(const point_info &p) {
    json tests = json::array();
    for (const test_info &t : p.tests) {
        tests.push_back(to_json(t));
    }
    return {{"id", p.id},
            {"time", to_rfc3339(p.time)},
            {"arrived", p.arrival == wall_time{} ? json(nullptr) : json(to_rfc3339(p.arrival))},
            {"age_seconds", rounded(seconds_of(p.age))},
            {"kind", p.kind},
            {"name", p.name},
            {"note", p.note},
            {"hooks", hooks_of(p)},
            {"pinned", p.pinned},
            {"suspect", p.suspect},
            {"damaged", p.damaged},
            {"size_bytes", p.size_bytes},
            {"kept_by", p.kept_by},
            {"until", p.until ? json(to_rfc3339(*p.until)) : json(nullptr)},
            {"tests", std::move(tests)}};
}

json to_json(const retention_outlook &o) {
    const auto part = [](std::uint64_t points, const std::optional<point_info> &oldest,
                         std::uint64_t used) {
        return json{
            {"points", points}, {"oldest_point", point_or_null(oldest)}, {"used_bytes", used}};
    };
    return {{"group", o.group},
            {"now", part(o.points_now, o.oldest_now, o.used_bytes_now)},
            {"then", part(o.points, o.oldest, o.used_bytes)},
            {"dropped_points", o.points_now - std::min(o.points_now, o.points)},
            {"limit_bytes", o.limit_bytes},
            {"fits", o.fits}};
}

json points_document(const std::string &group, const std::vector<point_info> &points,
                     const std::optional<std::string> &held_back) {
    json list = json::array();
    for (const auto &p : points) {
        list.push_back(to_json(p));
    }
    return {{"group", group}, {"points", std::move(list)}, {"held_back", or_null(held_back)}};
}

json to_json(const opened_point &o) {
    json uris = json::object();
    for (const auto &e : o.exports) {
        uris[e.volume] = e.uri;
    }
    json mounts = json::object();
    for (const auto &m : o.mounts) {
        mounts[m.volume] = m.path;
    }
    json document{{"id", o.id},
                  {"group", o.group},
                  {"point", o.point},
                  {"writable", o.writable},
                  {"uris", std::move(uris)},
                  {"space", o.writable ? json{{"used_bytes", o.space_used_bytes},
                                              {"limit_bytes", o.space_limit_bytes}}
                                       : json(nullptr)},
                  {"mount", o.mount.empty() ? json(nullptr) : json(o.mount)},
                  {"mounts", std::move(mounts)},
                  {"served", o.served},
                  {"error", or_null(o.error)}};
    if (!o.since.empty()) {
        document["since"] = o.since;
    }
    return document;
}

json to_json(const seed_target &t) {
    json targets = json::object();
    for (const auto &[volume, path] : t.targets) {
        targets[volume] = path;
    }
    return {{"group", t.group},         {"state", t.state},
            {"copy", t.copy},           {"connected", t.connected},
            {"directory", t.directory}, {"targets", std::move(targets)}};
}

json to_json(const invitation &i) {
    return {{"token", i.token}, {"expires", to_rfc3339(i.expires)}};
}

json to_json(const peer_status &p) {
    return {{"group", p.group},
            {"address", p.address},
            {"fingerprint", p.fingerprint},
            {"connected", p.connected}};
}

json invitations_document(const std::vector<open_invitation> &invitations) {
    json list = json::array();
    for (const auto &i : invitations) {
        list.push_back({{"id", i.id}, {"group", i.group}, {"expires", to_rfc3339(i.expires)}});
    }
    return {{"invitations", std::move(list)}};
}

json peers_document(const std::vector<peer_status> &peers) {
    json list = json::array();
    for (const auto &p : peers) {
        list.push_back(to_json(p));
    }
    return {{"peers", std::move(list)}};
}

json throttle_document(const throttle_view &daemon,
                       const std::vector<sender_group_status> &groups) {
    const auto limit = [](const auto &rate, const std::string &source, const auto &until) {
        return json{{"limit_bytes_per_second", or_null(rate)},
                    {"source", source},
                    {"until", until ? json(to_rfc3339(*until)) : json(nullptr)}};
    };
    json list = json::array();
    for (const auto &g : groups) {
        json entry = limit(g.limit_bytes_per_second, g.limit_source, g.limit_until);
        entry["name"] = g.name;
        list.push_back(std::move(entry));
    }
    return {{"daemon", limit(daemon.rate, daemon.source, daemon.until)},
            {"groups", std::move(list)}};
}

} // namespace farshore
