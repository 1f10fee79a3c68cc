#include "replicator/failover/served_groups.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/nbd/serve_endpoint.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/replica/served_files.hpp"
#include "replicator/roles/role_steps.hpp"
#include "replicator/sender/sender_access.hpp"
#include "replicator/sender/switchover.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr duration look_every = std::chrono::seconds(1);
constexpr duration serve_patience = std::chrono::seconds(30);
/// Of the receiver's `memory`, for all that is served; nothing is held for a line.
constexpr std::uint64_t memory_share = 4;
constexpr std::uint64_t memory_min = 64ULL << 20;

/// What may differ from the other site: blocks that the history has after the fork.
result<std::vector<pending_range>> changed_after(replica_group &copy, interval_id fork) {
    std::vector<pending_range> all;
    FS_CHECK(copy.each_change_after(
        fork, [&](volume_index v, std::uint64_t block, std::uint64_t count) -> result<> {
            const byte_range range{block * block_bytes, count * block_bytes};
            if (!all.empty() && all.back().volume == v && range.offset <= all.back().range.end()) {
                byte_range &last = all.back().range;
                last.length = std::max(last.end(), range.end()) - last.offset;
            } else {
                all.push_back({v, range});
            }
            return {};
        }));
    return all;
}

/// Maps of generations that are over.
result<> remove_old_maps(file_system &files, const std::string &directory,
                         const std::string &keep) {
    FS_TRY(names, files.list(directory));
    for (const std::string &name : names) {
        if (!name.starts_with("capture-") || name == keep) {
            continue;
        }
        const std::string old = join_path(directory, name);
        FS_TRY(inside, files.list(old));
        for (const std::string &file : inside) {
            FS_CHECK(files.remove(join_path(old, file)));
        }
    }
    return {};
}

task<result<>> store(task<result<promote_outcome>> from, promote_outcome &out) {
    FS_CO_TRY(done, co_await std::move(from));
    out = std::move(done);
    co_return result<>{};
}

} // namespace

served_means served_means_of(const receiver_config &config, bool in_test) {
    const auto find = [groups = config.groups](const std::string &name) {
        const auto at = std::ranges::find(groups, name, &receiver_group_config::name);
        return at == groups.end() ? receiver_group_config{} : *at;
    };
    served_means m;
    m.half = [find,
              in_test](const std::string &name,
                       const std::vector<replica_volume> &volumes) -> result<sender_group_config> {
        const receiver_group_config of = find(name);
        if (of.serve.empty() && !in_test) {
            return fail(errc::invalid,
                        fmt::format("group \"{}\" has no `serve` in the receiver's configuration, "
                                    "where its volumes are to be served, for instance serve = "
                                    "\"unix:/run/farshore/{{volume}}.sock\"",
                                    name));
        }
        sender_group_config g;
        g.name = name;
        g.loans = false;
        for (const replica_volume &v : volumes) {
            FS_TRY(endpoint, nbd::serve_endpoint(of.serve, name, v.name, volumes.size()));
            g.volumes.push_back({v.name, v.path, endpoint});
        }
        return g;
    };
    m.commit_after = [find](const std::string &name) { return find(name).commit_after; };
    m.groups = [groups = config.groups] {
        std::vector<std::string> names;
        for (const receiver_group_config &g : groups) {
            names.push_back(g.name);
        }
        return names;
    };
    m.memory_bytes_max = config.memory_bytes_max;
    m.tls = config.tls;
    return m;
}

promote_outcome role_taken_back(std::string group, std::string generation) {
    promote_outcome out;
    out.group = std::move(group);
    out.generation = std::move(generation);
    out.nothing_lost = true; // it is the site that had all of it
    return out;
}

served_groups::served_groups(receiver &engine, std::shared_ptr<site> here, served_means means)
    : engine_(engine), here_(std::move(here)), means_(std::move(means)), run_(here_->run()),
      tasks_(run_.home) {
    engine_.use_followers(
        [this](const std::string &group, std::unique_ptr<transport::link> link) {
            if (sender *of = half(group)) {
                of->take_link(group, std::move(link));
            } else {
                link->close(); // it comes again
            }
        },
        [this](const std::string &group, std::unique_ptr<transport::link> link,
               std::uint64_t session) {
            if (sender *of = half(group)) {
                of->take_data_link(group, std::move(link), session);
            } else {
                link->close();
            }
        },
        [this] {
            for (const auto &[group, at] : slots_) {
                if (at.now) {
                    at.now->half->heed_roles();
                }
            }
            wanted_.notify_all();
        },
        [this](const std::string &group, const std::vector<replica_volume> &volumes) -> result<> {
            FS_TRY(config, means_.half(group, volumes));
            static_cast<void>(config);
            return {};
        });
}
served_groups::~served_groups() = default;

void served_groups::start() { tasks_.spawn(watch()); }

void served_groups::end_commands() {
    commands_.end();
    for (auto &[group, at] : slots_) {
        if (at.now) {
            at.now->half->end_commands();
        }
    }
    moved_.notify_all();
    wanted_.notify_all();
}

task<void> served_groups::stop() {
    end_commands();
    ending_ = true;
    wanted_.notify_all();
    co_await commands_.join();
    co_await tasks_.join();
    for (auto &[group, at] : slots_) {
        co_await end(group, at);
    }
}

task<void> served_groups::watch() {
    while (!ending_) {
        for (const std::string &group : means_.groups()) {
            if (!ending_) {
                co_await follow(group);
            }
        }
        co_await wanted_.wait_until(*run_.time, run_.time->now() + look_every);
    }
}

task<void> served_groups::follow(std::string group) {
    slot &at = slots_[group];
    const auto wanted = at.held ? std::nullopt : engine_.serving(group);
    if (at.now && (!wanted || wanted->copy != at.now->copy)) {
        co_await end(group, at);
    }
    if (!wanted) {
        at.failure.clear();
        if (auto heeded = co_await engine_.heed_role(group); !heeded) {
            log::error("group {}: {}", group, heeded.error().text());
        }
        co_return;
    }
    co_await settle_late(group, *wanted);
    if (at.now) {
        co_return;
    }
    at.beginning = true;
    const auto begun = co_await begin(group, *wanted, at);
    at.beginning = false;
    if (!begun) {
        if (std::exchange(at.failure, begun.error().text()) != at.failure) {
            log::error("group {}: this site's to serve, and not served: {}; tried again by itself",
                       group, at.failure);
        }
    } else {
        at.failure.clear();
    }
    if (at.held) { // a command came meanwhile
        co_await end(group, at);
    }
    moved_.notify_all();
}

task<result<>> served_groups::begin(const std::string &group, const served_copy &of, slot &at) {
    const group_role &role = **of.role;
    auto next = std::make_unique<served>();
    next->copy = of.copy;
    FS_CO_TRY(config, means_.half(group, of.copy->volumes()));
    for (const sender_volume_config &v : config.volumes) {
        if (!v.nbd.empty()) {
            FS_CO_TRY(where, nbd::parse_endpoint(v.nbd));
            next->uris[v.name] = nbd::export_uri(where, v.name);
        }
    }
    sender_config c;
    c.memory_bytes_max = std::max(memory_min, means_.memory_bytes_max / memory_share);
    c.links = means_.links;
    c.tls = means_.tls;
    c.groups.push_back(std::move(config));
    served_half half;
    half.files = make_served_files(here_->files(), of.copy);
    half.capture = "capture-" + text_of(*role.state.ancestry.newest());
    half.changed = [copy = of.copy, fork = role.serving.point] {
        return changed_after(*copy, fork);
    };
    half.dials = means_.dials;
    half.changed_at_each_start = role.state.trial != promotion_trial::none;
    FS_CO_CHECK(co_await run_on(run_.disk, [&, keep = half.capture] {
        return remove_old_maps(here_->files(), here_->group_directory(group), keep);
    }));
    next->half = std::make_unique<sender>(std::move(c), here_);
    next->half->use_half(group, std::move(half));
    next->half->use_applications(means_.applications);
    if (!means_.boot_id.empty()) {
        sender_access::set_boot(*next->half, means_.boot_id);
    }
    auto started = co_await next->half->start();
    if (started) {
        const auto status = next->half->status();
        if (status.empty() || status.front().state == sender_state::failed) {
            started = fail(errc::dead, status.empty() ? "it was not started"
                                                      : status.front().error.value_or("failed"));
        }
    }
    if (!started) {
        co_await next->half->stop(duration{});
        co_return started;
    }
    at.now = std::move(next);
    log::info("group {}: its volumes are served from here, generation {}", group,
              text_of(*role.state.ancestry.newest()));
    co_return result<>{};
}

task<void> served_groups::end(const std::string &group, slot &at) {
    const auto over = std::exchange(at.now, nullptr);
    if (over) {
        log::info("group {}: its volumes are served no more from here", group);
        co_await over->half->stop(duration{});
    }
    moved_.notify_all();
}

task<void> served_groups::settle_late(const std::string &group, const served_copy &of) {
    const group_role &role = **of.role;
    const auto after = means_.commit_after(group);
    const bool due = after && role.state.trial != promotion_trial::none &&
                     run_.time->wall() - role.serving.since > *after;
    if (!due) {
        co_return;
    }
    if (auto settled = co_await engine_.settle(group); !settled) {
        log::warning("group {}: `commit_after`: {}", group, settled.error().text());
    } else {
        log::info("group {}: the promotion is committed, as `commit_after` says", group);
    }
}

// ---- commands

task<result<promote_outcome>> served_groups::promote(std::string group, std::string point,
                                                     bool forced, progress_report progress) {
    const commands_under_way::mark here(commands_);
    if (sender *of = half(group); of != nullptr && forced && point.empty()) {
        auto taken = co_await of->take_role_back(group); // refused when its role is not in doubt
        if (taken) {
            co_return role_taken_back(std::move(group), std::move(*taken));
        }
    }
    if (engine_.serving(group)) {
        co_return co_await engine_.promote(group, point, forced, progress); // it says why not
    }
    if (const auto volumes = engine_.fed(group)) { // before anything changes
        std::vector<replica_volume> all;
        for (const wire::volume_entry &v : *volumes) {
            all.push_back({v.name, v.size, ""});
        }
        FS_CO_CHECK(means_.half(group, all));
    }
    // What is left of a role that was handed over just now has the copy open.
    promote_outcome out;
    FS_CO_CHECK(co_await stop_serving(
        group, [&] { return store(engine_.promote(group, point, forced, progress), out); }));
    wanted_.notify_all();
    const slot &at = slots_[group];
    const time_point until = run_.time->now() + serve_patience;
    while (!commands_.ending() && !at.now && at.failure.empty() &&
           co_await moved_.wait_until(*run_.time, until)) {
    }
    if (!at.now) {
        co_return fail(errc::dead,
                       fmt::format("group \"{}\" is promoted (generation {}), and its volumes are "
                                   "not served: {}; tried again by itself",
                                   group, out.generation,
                                   at.failure.empty() ? "it takes long" : at.failure));
    }
    for (const auto &[volume, uri] : at.now->uris) {
        out.volumes.push_back({volume, uri});
    }
    co_return out;
}

task<result<>> served_groups::settle(std::string group) {
    const commands_under_way::mark here(commands_);
    co_return co_await engine_.settle(std::move(group));
}

/// Ends what is served of the group, and begins nothing before `then` is over.
task<result<>> served_groups::stop_serving(std::string group,
                                           std::function<task<result<>>()> then) {
    const commands_under_way::mark here(commands_);
    slot &at = slots_[group];
    at.held = true;
    const std::shared_ptr<void> done(nullptr, [this, &at](void *) {
        at.held = false;
        wanted_.notify_all();
    });
    wanted_.notify_all();
    while ((at.now || at.beginning) && !commands_.ending()) {
        co_await moved_.wait();
    }
    if (at.now || at.beginning) { // clients may still write
        co_return fail(errc::closed, "the daemon is being stopped, and nothing was changed");
    }
    co_return co_await then();
}

task<result<>> served_groups::discard(std::string group) {
    if (const auto of = engine_.serving(group)) { // clients go on when it is refused
        FS_CO_CHECK(discarded((**of->role).state));
    }
    co_return co_await stop_serving(group, [this, group] { return engine_.discard(group); });
}

task<result<>> served_groups::reverse(std::string group, bool keep_there) {
    const role_step step = here_->reversal_of(group, keep_there);
    if (const auto of = engine_.serving(group)) {
        FS_CO_CHECK(step((**of->role).state));
    }
    co_return co_await stop_serving(group,
                                    [this, group, step] { return engine_.reverse(group, step); });
}

task<result<std::vector<switchover_outcome>>>
served_groups::switchover(std::vector<std::string> groups, duration patience) {
    return switch_over_named(
        std::move(groups),
        [this](const std::string &group) {
            sender *of = half(group);
            return of != nullptr ? of->party(group) : nullptr;
        },
        [this](const std::string &group) { return slots_.contains(group); }, *run_.time, patience);
}

// ---- looks

sender *served_groups::half(const std::string &group) const {
    const auto at = slots_.find(group);
    return at == slots_.end() || !at->second.now ? nullptr : at->second.now->half.get();
}

void served_groups::describe(receiver_group_status &s) const {
    const auto at = slots_.find(s.name);
    if (!s.serving || at == slots_.end()) {
        return;
    }
    if (!at->second.failure.empty()) {
        s.serving->error = at->second.failure;
        s.error = at->second.failure;
    }
    if (!at->second.now) {
        return;
    }
    for (const sender_group_status &half : at->second.now->half->status()) {
        s.role.serves = half.role.serves;
        s.connected = half.connected;
        s.serving->stream = name_of(half.state);
        s.serving->lag_seconds = half.lag_seconds;
        for (const volume_status &v : half.volumes) {
            const auto uri = at->second.now->uris.find(v.name);
            s.serving->volumes.push_back(
                {v.name, uri == at->second.now->uris.end() ? "" : uri->second, v.dirty_bytes});
        }
        if (half.error && half.state == sender_state::failed) {
            s.serving->error = half.error;
        }
    }
}

std::shared_ptr<block_device> served_groups::device(const std::string &group,
                                                    volume_index v) const {
    const auto at = slots_.find(group);
    return at == slots_.end() || !at->second.now
               ? nullptr
               : sender_access::device(*at->second.now->half, group, v);
}

} // namespace farshore
