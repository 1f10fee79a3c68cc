// A group at the DR site: its recovery points, those that are open, and its status.

#include "replicator/base/log.hpp"
#include "replicator/receiver/point_name.hpp"
#include "replicator/receiver/receiver_group.hpp"
#include "replicator/receiver/receiver_session.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

point_info info_of(const replica_point &p, duration age) {
    point_info i;
    i.arrival = p.arrival;
    i.age = age;
    i.id = std::to_string(p.id.value);
    i.time = p.time;
    i.size_bytes = p.undo_bytes;
    i.pinned = p.pinned;
    i.suspect = p.suspect;
    return i;
}

} // namespace

// The newest is at least as old as it has been the newest: a clock that is set back must not make
// it young.
duration receiver_group::age_of(const replica_point &p) const {
    const duration age = clock_.age_of(p.time, p.arrival, run_.time->wall());
    return p.id == newest_seen_ ? std::max(age, run_.time->now() - newest_since_) : age;
}

// An empty list would say that the points are gone.
result<> receiver_group::check_served() const {
    return !copy_ && failure_ ? fail(errc::dead, fmt::format("group \"{}\" is not served: {}",
                                                             name(), failure_->text()))
                              : result<>{};
}

task<result<std::vector<point_info>>> receiver_group::points() {
    FS_CO_CHECK(check_served());
    std::vector<point_info> out;
    if (copy_) {
        const auto all =
            co_await run_on(run_.disk, [copy = copy_] { return copy->points_with_sizes(); });
        for (const replica_point &p : all) {
            out.push_back(info_of(p, age_of(p)));
        }
    }
    co_return out;
}

result<replica_point> receiver_group::resolve_point(const std::string &text) const {
    FS_TRY(wanted, parse_point_name(text));
    FS_CHECK(check_served());
    const std::vector<replica_point> all = copy_ ? copy_->points() : std::vector<replica_point>{};
    if (all.empty()) {
        return fail(errc::not_found, fmt::format("group \"{}\" has no complete point yet", name()));
    }
    if (std::holds_alternative<point_latest>(wanted)) {
        return all.back(); // who opens it says what is wrong with it, if it is suspect
    }
    if (const auto *id = std::get_if<point_by_id>(&wanted)) {
        const auto at = std::ranges::find(all, interval_id{id->id}, &replica_point::id);
        if (at == all.end()) {
            return fail(
                errc::not_found,
                fmt::format("group \"{}\" keeps no point {}; `farshore points {}` lists them",
                            name(), id->id, name()));
        }
        return *at;
    }
    std::vector<dated_point> dated;
    for (const replica_point &p : all) {
        dated.push_back({p.time, age_of(p)});
    }
    const auto chosen = choose_point(wanted, dated);
    if (!chosen) {
        return fail(errc::not_found,
                    fmt::format("group \"{}\" keeps no point that old; the oldest is {} of {}",
                                name(), all.front().id.value, to_rfc3339(all.front().time)));
    }
    return all[*chosen];
}

result<open_replica_point> receiver_group::open_devices(const std::string &point) {
    FS_TRY(p, resolve_point(point));
    return copy_->open_point(p.id);
}

task<result<opened_point>> receiver_group::open_point(std::string point, std::string nbd,
                                                      bool suspect) {
    FS_CO_TRY(where, nbd::parse_endpoint(nbd));
    FS_CO_TRY(p, resolve_point(point));
    const command_under_way here(commands_);
    opened_entry entry;
    entry.since = run_.time->now();
    entry.view.id = fmt::format("{}-{}", name(), next_open_id_++);
    entry.view.group = name();
    entry.view.point = std::to_string(p.id.value);
    entry.where = where;
    entry.point = p.id;
    entry.suspect = suspect;
    entry.suspect_said = p.suspect;
    const auto copy = copy_;
    FS_CO_CHECK(co_await serve(entry));
    for (const replica_volume &v : copy->volumes()) {
        entry.view.exports.push_back({v.name, nbd::export_uri(entry.where, v.name)});
    }
    opened_point view = entry.view;
    opened_.emplace(view.id, std::move(entry));
    co_return view;
}

task<result<>> receiver_group::serve(opened_entry &entry) {
    const auto copy = copy_;
    if (!copy) {
        co_return fail(errc::closed, "the copy is being opened");
    }
    FS_CO_TRY(opened, co_await run_on(run_.disk, [copy, id = entry.point, suspect = entry.suspect] {
                  return copy->open_point(id, suspect);
              }));
    if (ending_) {
        co_return fail(errc::closed, "the receiver stops");
    }
    std::vector<nbd::export_entry> exports;
    for (std::size_t i = 0; i < opened.devices.size(); ++i) {
        const std::string &volume = copy->volumes()[i].name;
        exports.push_back({volume,
                           fmt::format("{}/{} at point {}", name(), volume, entry.point.value),
                           opened.devices[i]});
    }
    if (!point_disk_) {
        point_disk_ = options_.make_point_disk ? options_.make_point_disk() : run_.disk;
    }
    auto server = std::make_unique<nbd::server>(
        std::move(exports), nbd_loops_, *point_disk_,
        options_.account ? nbd::client_bounds{options_.account->open_share(), options_.places}
                         : nbd::default_client_bounds());
    if (auto listening = server->listen(entry.where); !listening) {
        co_await server->close(duration{});
        co_return listening;
    }
    if (entry.where.unix_path.empty()) {
        entry.where.port = server->port();
    }
    entry.server = std::move(server);
    co_return result<>{};
}

task<void> receiver_group::suspend_openings() {
    std::vector<std::unique_ptr<nbd::server>> servers; // an operator may close an opening meanwhile
    for (auto &[id, entry] : opened_) {
        if (entry.server) {
            servers.push_back(std::move(entry.server));
        }
    }
    for (auto &server : servers) {
        co_await server->close(std::chrono::seconds(1));
    }
}

// `all`: everything durable is applied, so a point that is not there is gone for good.
task<void> receiver_group::resume_openings(bool all) {
    const std::vector<replica_point> there = copy_ ? copy_->points() : std::vector<replica_point>{};
    std::vector<std::string> ids;
    for (const auto &[id, entry] : opened_) {
        if (!entry.server &&
            (all || std::ranges::find(there, entry.point, &replica_point::id) != there.end())) {
            ids.push_back(id);
        }
    }
    for (const std::string &id : ids) {
        auto node = opened_.extract(id);
        if (node.empty()) {
            continue;
        }
        if (auto served = co_await serve(node.mapped()); !served) {
            log::warning("group {}: point {}, opened as {}, is closed: {}", name(),
                         node.mapped().point.value, id, served.error().text());
            continue;
        }
        if (stopping_) {
            co_await node.mapped().server->close(duration{});
            continue;
        }
        log::info("group {}: point {}, opened as {}, is served again", name(),
                  node.mapped().point.value, id);
        opened_.insert(std::move(node));
    }
}

std::vector<opened_point> receiver_group::opened() const {
    std::vector<opened_point> out;
    for (const auto &[id, entry] : opened_) {
        out.push_back(entry.view);
    }
    return out;
}

task<bool> receiver_group::close_point(std::string id) {
    auto node = opened_.extract(id);
    if (node.empty()) {
        co_return false;
    }
    const command_under_way here(commands_);
    if (node.mapped().server) {
        co_await node.mapped().server->close(std::chrono::seconds(1));
    }
    co_return true;
}

// ---- status
// ----------------------------------------------------------------------------------------

receiver_group_status receiver_group::status() const {
    receiver_group_status s;
    s.name = name();
    s.connected = connected();
    s.bytes_wire = wire_bytes_before_ + (session_ ? session_->wire_bytes() : 0);
    s.bytes_applied = bytes_applied_;
    s.journal_limit_bytes = options_.config.journal_bytes_max;
    s.error = last_error_;
    s.open_points = opened_.size();
    for (const auto &[id, entry] : opened_) {
        s.oldest_open_seconds =
            std::max(s.oldest_open_seconds, seconds_of(run_.time->now() - entry.since));
    }
    s.apply_waits = apply_waits_;
    s.wrong_bases = wrong_bases_;
    if (const auto skew = clock_.warning()) {
        s.warnings.push_back(*skew);
    }
    if (!copy_) {
        s.state = failure_ ? receiver_state::failed : receiver_state::empty;
        if (failure_) {
            s.error = failure_->text();
        }
        return s;
    }
    s.held_back = held_back();
    s.replay = replay();
    if (apply_error_) {
        s.error = "what is durable can't be applied: " + *apply_error_;
    } else if (!s.error) {
        s.error = s.held_back;
    }
    const replica_position at = copy_->position();
    s.journal_used_bytes = copy_->used_bytes();
    if (failure_) {
        s.state = receiver_state::failed;
        s.error = failure_->text();
    } else if (s.replay) {
        s.state = receiver_state::replaying;
    } else if (at.applied.interval.value == 0) {
        s.state = receiver_state::empty;
    } else {
        s.state = at.in_catch_up ? receiver_state::receiving_sync : receiver_state::following;
    }
    if (at.durable.interval.value != 0) {
        s.durable_barrier = barrier_info{at.durable.interval, at.durable_time};
    }
    if (at.applied.interval.value != 0) {
        s.applied_barrier = barrier_info{at.applied.interval, at.applied_time};
    }
    const std::vector<replica_point> all = copy_->points();
    s.points = all.size();
    const auto good = std::ranges::find(
        all, false, &replica_point::suspect); // suspect ones are older than all others
    s.suspect_points = static_cast<std::uint64_t>(good - all.begin());
    if (good != all.end()) {
        s.oldest_point = info_of(*good, age_of(*good));
        s.newest_point = info_of(all.back(), age_of(all.back()));
    }
    for (const replica_volume &v : copy_->volumes()) {
        s.volumes.push_back({v.name, v.size});
    }
    return s;
}

} // namespace farshore
