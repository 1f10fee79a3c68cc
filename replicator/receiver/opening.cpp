#include "replicator/receiver/opening.hpp"

#include "replicator/base/log.hpp"
#include "replicator/replica/overlay_directory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr duration grace = std::chrono::seconds(1); ///< for clients' requests in flight

std::vector<overlay_volume> overlay_volumes(const std::vector<replica_volume> &volumes) {
    std::vector<overlay_volume> all;
    for (const replica_volume &v : volumes) {
        all.push_back({v.name, v.size});
    }
    return all;
}

} // namespace

std::string endpoint_text(const nbd::endpoint &where) {
    if (!where.unix_path.empty()) {
        return "unix:" + where.unix_path;
    }
    const bool brackets = where.host.contains(':');
    return fmt::format("tcp:{}{}{}:{}", brackets ? "[" : "", where.host, brackets ? "]" : "",
                       where.port);
}

task<result<>> opening::create_overlay(const runtime &run, const opening_means &means,
                                       std::vector<replica_volume> volumes) {
    co_return co_await run_on(run.disk, [files = means.files, directory = directory(means),
                                         point = record_.point, all = overlay_volumes(volumes)] {
        return create_overlays(*files, directory, point, all);
    });
}

task<result<>> opening::open_devices(const runtime &run, const opening_means &means,
                                     std::shared_ptr<replica_group> copy) {
    name_volumes(copy->volumes());
    std::shared_ptr<overlay_space> space;
    if (record_.writable) {
        space = std::make_shared<overlay_space>(*means.files, directory(means), record_.space_bytes,
                                                record_.id);
    }
    using devices = std::vector<std::shared_ptr<block_device>>;
    auto opened = co_await run_on(
        run.disk,
        [copy, space, files = means.files, directory = directory(means), id = record_.point,
         suspect = record_.suspect, since = record_.changed_since]() -> result<devices> {
            FS_TRY(below, copy->open_point(id, suspect,
                                           since.value == 0 ? std::nullopt : std::optional(since)));
            return space ? open_overlays(*files, directory, id, overlay_volumes(copy->volumes()),
                                         below.devices, space)
                         : result<devices>(std::move(below.devices));
        });
    if (!opened) {
        co_return std::unexpected(opened.error());
    }
    devices_ = std::move(*opened);
    space_ = std::move(space);
    co_return result<>{};
}

/// `where`: with the port that was bound, then.
result<std::unique_ptr<nbd::server>> opening::start_server(const opening_means &means,
                                                           nbd::endpoint &where) const {
    std::vector<nbd::export_entry> exports;
    for (std::size_t i = 0; i < devices_.size(); ++i) {
        exports.push_back(
            {volumes_[i],
             fmt::format("{}/{} at point {}", means.group, volumes_[i], record_.point.value),
             devices_[i]});
    }
    auto server = std::make_unique<nbd::server>(std::move(exports), means.nbd_loops, means.clients,
                                                means.bounds());
    FS_CHECK(server->listen(where));
    if (where.unix_path.empty()) {
        where.port = server->port();
    }
    return server;
}

task<result<>> opening::serve(const runtime &run, const opening_means &means,
                              std::shared_ptr<replica_group> copy, bool first) {
    FS_CO_CHECK(co_await open_devices(run, means, std::move(copy)));
    if (!record_.nbd.empty()) {
        auto server = start_server(means, where_);
        if (!server) {
            co_await suspend(run, means, false);
            co_return std::unexpected(server.error());
        }
        server_ = std::move(*server);
        record_.nbd = endpoint_text(where_);
    }
    trouble.reset();
    if (record_.mount.empty()) {
        co_return result<>{};
    }
    auto mounted = co_await mount(run, means);
    if (!mounted && first) {
        co_await suspend(run, means, false);
        co_return mounted;
    }
    if (!mounted) {
        trouble = "not mounted: " + mounted.error().text();
        log::warning("opened point {}: {}", record_.id, *trouble);
    }
    co_return result<>{};
}

task<result<>> opening::mount(const runtime &run, const opening_means &means) {
    const std::string directory = this->directory(means);
    FS_CO_CHECK(co_await run_on(
        run.disk, [files = means.files, directory] { return files->make_directories(directory); }));
    FS_CO_TRY(where, nbd::parse_endpoint("unix:" + join_path(directory, "nbd.sock")));
    FS_CO_TRY(server, start_server(means, where));
    mount_server_ = std::move(server);
    point_mount::plan plan{directory, record_.mount, volumes_, {}, record_.writable};
    for (const std::string &volume : volumes_) {
        plan.uris.push_back(nbd::export_uri(where, volume));
    }
    FS_CO_TRY(mounted, co_await run_on(means.mounting, [plan = std::move(plan)]() mutable {
                  point_mount::clean_up(plan.directory);
                  auto checked = point_mount::check(plan.target);
                  return checked ? point_mount::mount(std::move(plan))
                                 : result<std::unique_ptr<point_mount>>(
                                       std::unexpected(checked.error()));
              }));
    mount_ = std::move(mounted);
    co_return result<>{};
}

task<void> opening::suspend(const runtime &run, const opening_means &means, bool dropped) {
    if (mount_) { // first: it reads and writes through the server
        co_await run_on(means.mounting, [m = std::shared_ptr(std::move(mount_))] { m->undo(); });
    }
    for (auto *server : {&mount_server_, &server_}) {
        if (const auto ended = std::move(*server)) {
            co_await ended->close(grace);
        }
    }
    // Clients that come back find what they wrote, flushed or not: which blocks it is in stands
    // only in memory until then. The last reader of an overlay's files closes them, which may take
    // the disk's time.
    co_await run_on(run.disk, [devices = std::exchange(devices_, {}), id = record_.id, dropped,
                               space = std::exchange(space_, nullptr)]() mutable {
        for (const auto &device : devices) {
            const auto flushed = dropped || device->read_only() ? result<>() : device->flush();
            if (!flushed) {
                log::error("opened point {}: what was written to it since its clients' last flush "
                           "is lost: {}",
                           id, flushed.error().text());
            }
        }
        devices.clear();
        space.reset();
    });
}

void opening::name_volumes(const std::vector<replica_volume> &volumes) {
    volumes_.clear();
    for (const replica_volume &v : volumes) {
        volumes_.push_back(v.name);
    }
}

task<result<>> remove_opening_files(const runtime &run, const opening_means &means,
                                    std::string id) {
    const std::string directory = join_path(means.directory, id);
    const bool mounts = co_await run_on(run.disk, [files = means.files, directory] {
        const auto names = files->list(directory);
        return names && std::ranges::any_of(*names, point_mount::is_file_of_ours);
    });
    if (mounts) {
        co_await run_on(means.mounting, [directory] { point_mount::clean_up(directory); });
    }
    co_return co_await run_on(
        run.disk, [files = means.files, directory] { return remove_overlays(*files, directory); });
}

opened_point opening::view(const std::string &group) const {
    opened_point v;
    v.id = record_.id;
    v.group = group;
    v.point = std::to_string(record_.point.value);
    v.writable = record_.writable;
    if (!record_.nbd.empty()) {
        for (const std::string &volume : volumes_) {
            v.exports.push_back({volume, nbd::export_uri(where_, volume)});
        }
    }
    v.space_limit_bytes = record_.space_bytes;
    v.space_used_bytes = space_ ? space_->used_bytes() : 0;
    v.mount = record_.mount;
    if (record_.changed_since.value != 0) {
        v.since = std::to_string(record_.changed_since.value);
    }
    if (mount_) {
        for (const point_mount::volume &m : mount_->volumes()) {
            v.mounts.push_back({m.name, m.path});
        }
    }
    v.served = served();
    v.error = trouble || !unrecorded() ? trouble : std::optional<std::string>(unrecorded_words);
    return v;
}

} // namespace farshore
