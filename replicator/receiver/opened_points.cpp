#include "replicator/receiver/opened_points.hpp"

#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {

opened_points::opened_points(means how, runtime run, commands_under_way &commands)
    : how_(std::move(how)), run_(std::move(run)), commands_(commands) {}

task<result<opened_point>> opened_points::open(std::shared_ptr<replica_group> copy,
                                               replica_point point, nbd::endpoint where,
                                               bool suspect) {
    const commands_under_way::mark here(commands_);
    entry e;
    e.since = run_.time->now();
    e.view.id = fmt::format("{}-{}", how_.group, next_id_++);
    e.view.group = how_.group;
    e.view.point = std::to_string(point.id.value);
    e.where = where;
    e.point = point.id;
    e.suspect = suspect;
    e.suspect_said = point.suspect;
    FS_CO_CHECK(co_await serve(copy, e));
    for (const replica_volume &v : copy->volumes()) {
        e.view.exports.push_back({v.name, nbd::export_uri(e.where, v.name)});
    }
    opened_point view = e.view;
    opened_.emplace(view.id, std::move(e));
    co_return view;
}

task<result<>> opened_points::serve(std::shared_ptr<replica_group> copy, entry &e) {
    FS_CO_TRY(opened, co_await run_on(run_.disk, [copy, id = e.point, suspect = e.suspect] {
                  return copy->open_point(id, suspect);
              }));
    if (commands_.ending()) {
        co_return fail(errc::closed, "the receiver stops");
    }
    std::vector<nbd::export_entry> exports;
    for (std::size_t i = 0; i < opened.devices.size(); ++i) {
        const std::string &volume = copy->volumes()[i].name;
        exports.push_back({volume,
                           fmt::format("{}/{} at point {}", how_.group, volume, e.point.value),
                           opened.devices[i]});
    }
    if (!disk_) {
        disk_ = how_.make_disk ? how_.make_disk() : run_.disk;
    }
    auto server =
        std::make_unique<nbd::server>(std::move(exports), how_.nbd_loops, *disk_, how_.bounds());
    if (auto listening = server->listen(e.where); !listening) {
        co_await server->close(duration{});
        co_return listening;
    }
    if (e.where.unix_path.empty()) {
        e.where.port = server->port();
    }
    e.server = std::move(server);
    co_return result<>{};
}

task<bool> opened_points::close(std::string id) {
    auto node = opened_.extract(id);
    if (node.empty()) {
        co_return false;
    }
    const commands_under_way::mark here(commands_);
    if (node.mapped().server) {
        co_await node.mapped().server->close(std::chrono::seconds(1));
    }
    co_return true;
}

task<void> opened_points::close_all() {
    while (!opened_.empty()) {
        co_await close(opened_.begin()->first);
    }
}

task<void> opened_points::suspend() {
    std::vector<std::unique_ptr<nbd::server>> servers; // an operator may close an opening meanwhile
    for (auto &[id, e] : opened_) {
        if (e.server) {
            servers.push_back(std::move(e.server));
        }
    }
    for (auto &server : servers) {
        co_await server->close(std::chrono::seconds(1));
    }
}

task<void> opened_points::resume(std::shared_ptr<replica_group> copy, bool all) {
    std::vector<std::string> ids;
    for (const auto &[id, e] : opened_) {
        if (!e.server) {
            ids.push_back(id);
        }
    }
    if (ids.empty()) {
        co_return;
    }
    const std::vector<replica_point> there = copy->points();
    for (const std::string &id : ids) {
        const auto at = opened_.find(id);
        if (at == opened_.end() || (!all && std::ranges::find(there, at->second.point,
                                                              &replica_point::id) == there.end())) {
            continue;
        }
        auto node = opened_.extract(at);
        if (auto served = co_await serve(copy, node.mapped()); !served) {
            log::warning("group {}: point {}, opened as {}, is closed: {}", how_.group,
                         node.mapped().point.value, id, served.error().text());
            continue;
        }
        log::info("group {}: point {}, opened as {}, is served again", how_.group,
                  node.mapped().point.value, id);
        opened_.insert(std::move(node));
    }
}

void opened_points::tell_suspect(interval_id upto) {
    for (auto &[id, e] : opened_) {
        if (e.point <= upto && !std::exchange(e.suspect_said, true)) {
            log::error("group {}: point {}, opened as {}, is suspect now: somebody else changed "
                       "the images after it was "
                       "made, so it may show what the primary never had. `farshore close {}`, and "
                       "open a newer one",
                       how_.group, e.point.value, id, id);
        }
    }
}

std::vector<opened_point> opened_points::list() const {
    std::vector<opened_point> out;
    for (const auto &[id, e] : opened_) {
        out.push_back(e.view);
    }
    return out;
}

double opened_points::oldest_seconds() const {
    double oldest = 0;
    for (const auto &[id, e] : opened_) {
        oldest = std::max(oldest, seconds_of(run_.time->now() - e.since));
    }
    return oldest;
}

std::string opened_points::holding() const {
    if (opened_.empty()) {
        return "";
    }
    std::string text = "open points hold it:";
    for (const auto &[id, e] : opened_) {
        text += fmt::format(" {} (point {}, for {:.0f} s)", id, e.view.point,
                            seconds_of(run_.time->now() - e.since));
    }
    return text + "; `farshore close ID` gives their space back";
}

} // namespace farshore
