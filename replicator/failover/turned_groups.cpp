#include "replicator/failover/turned_groups.hpp"

#include "replicator/base/log.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/roles/role_steps.hpp"
#include "replicator/sender/switchover.hpp"
#include "replicator/session/peer_clock.hpp"
#include "replicator/session/peer_trust.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <utility>

namespace farshore {
namespace {

/// Of the daemon's `memory`, for all copies at this site.
constexpr std::uint64_t copies_memory_share = 4;
constexpr std::uint64_t copies_memory_min = 64ULL << 20;

/// Its history has the room that its spool had: while it follows nothing is spooled.
receiver_group_config copy_config_of(const sender_group_config &group) {
    receiver_group_config c;
    c.name = group.name;
    for (const sender_volume_config &v : group.volumes) {
        c.targets.emplace_back(v.name, v.path);
    }
    c.volumes_max = static_cast<std::uint32_t>(group.volumes.size());
    c.journal_bytes_max = group.spool_bytes_max;
    c.loans = false;
    return c;
}

receiver_config copies_config(const sender_config &config, const std::vector<std::string> &turned) {
    receiver_config c;
    c.state = config.state;
    c.control = config.control;
    c.tls = config.tls;
    c.memory_bytes_max = std::max(copies_memory_min, config.memory_bytes_max / copies_memory_share);
    for (const sender_group_config &g : config.groups) {
        if (std::ranges::find(turned, g.name) != turned.end()) {
            c.groups.push_back(copy_config_of(g));
        }
    }
    return c;
}

constexpr duration turned_looked_for_every = std::chrono::milliseconds(250);

std::string directory_of(const std::string &state, const std::string &group) {
    return join_path(join_path(state, "groups"), group);
}

stream_position own_position(interval_id after) {
    return {stream_id{random_u64() | 1}, next(after)};
}

} // namespace

result<std::vector<std::string>> turned_groups::found(file_system &files,
                                                      const sender_config &config) {
    std::vector<std::string> turned;
    for (const sender_group_config &g : config.groups) {
        FS_TRY(copy, replica_group::exists(files, directory_of(config.state, g.name)));
        if (copy) {
            turned.push_back(g.name);
        }
    }
    return turned;
}

turned_groups::turned_groups(sender &plain, std::shared_ptr<site> here, const sender_config &config,
                             const std::vector<std::string> &turned,
                             std::shared_ptr<application_host> applications, std::string boot_id)
    : plain_(plain), here_(std::move(here)), config_(config), run_(here_->run()),
      instance_(random_u64()), tasks_(run_.home), copies_(copies_config(config, turned), here_),
      served_(copies_, here_, [&] {
          served_means m;
          m.half = [this](const std::string &name,
                          const std::vector<replica_volume> &) -> result<sender_group_config> {
              const sender_group_config *g = config_of(name);
              return g != nullptr ? result<sender_group_config>(*g)
                                  : fail(errc::not_found, "there is no group " + name);
          };
          m.commit_after = [](const std::string &) { return std::optional<duration>(); };
          m.groups = [this] {
              std::vector<std::string> names;
              for (const auto &[name, follower] : followers_) {
                  names.push_back(name);
              }
              return names;
          };
          m.dials = true;
          m.memory_bytes_max = config.memory_bytes_max;
          m.links = config.links;
          m.tls = config.tls;
          m.applications = std::move(applications);
          m.boot_id = std::move(boot_id);
          return m;
      }()) {
    for (const std::string &name : turned) {
        add_follower(name);
    }
}
turned_groups::~turned_groups() = default;

const sender_group_config *turned_groups::config_of(const std::string &group) const {
    const auto at = std::ranges::find(config_.groups, group, &sender_group_config::name);
    return at == config_.groups.end() ? nullptr : &*at;
}

task<result<>> turned_groups::start() {
    identity_ = plain_.identity();
    FS_CO_CHECK(co_await copies_.start());
    served_.start();
    for (const auto &[name, follower] : followers_) {
        follower->start();
    }
    tasks_.spawn(watch());
    co_return result<>{};
}

void turned_groups::end_commands() {
    served_.end_commands();
    copies_.end_commands();
}

/// A plain group that was handed over follows: now, or after a crash on the way.
task<void> turned_groups::watch() {
    while (!ending_) {
        for (const sender_group_config &g : config_.groups) {
            if (ending_ || has(g.name) || turning_.contains(g.name)) {
                continue;
            }
            const auto role = co_await here_->role_of(g.name, {});
            const bool handed = role && (**role)->state.role == site_role::following &&
                                !(**role)->state.ancestry.blank();
            if (!handed) {
                continue;
            }
            if (auto done = co_await take_over(g.name, std::nullopt); !done) {
                if (const auto more = failures_.failed(done.error().text(), run_.time->now())) {
                    log::error("group {}: the other site serves, and this one can't follow: {}{}",
                               g.name, done.error().text(), *more);
                }
            }
        }
        co_await wanted_.wait_until(*run_.time, run_.time->now() + turned_looked_for_every);
    }
}

task<void> turned_groups::stop() {
    end_commands();
    ending_ = true;
    wanted_.notify_all();
    co_await tasks_.join();
    for (const auto &[name, follower] : followers_) {
        follower->end();
    }
    co_await served_.stop();
    co_await copies_.stop(duration{}); // ends sessions, which followers wait for
    for (const auto &[name, follower] : followers_) {
        co_await follower->join();
    }
}

void turned_groups::add_follower(const std::string &group) {
    followers_[group] = std::make_unique<follower>(means_of(group), run_);
}

follower_means turned_groups::means_of(const std::string &group) {
    follower_means m;
    m.group = group;
    m.links = std::clamp<std::uint32_t>(config_.links, 1, limits::data_links_max);
    m.connector = [this, group](bool control) -> result<std::unique_ptr<transport::connector>> {
        const sender_group_config &g = *config_of(group);
        const pinned_peer *known = here_->trust()->find(group);
        const std::string where = !g.peer.empty() ? g.peer : known != nullptr ? known->address : "";
        const bool by_ca = here_->mode() == trust_mode::site_ca;
        if (where.empty() || (known == nullptr && !by_ca)) {
            return fail(errc::not_trusted, "no DR site is paired");
        }
        const expected_peer expected =
            by_ca ? expected_peer{trust_mode::site_ca, "", name_expected(g.peer_name, where)}
                  : expected_peer{trust_mode::pinned, known->fingerprint, ""};
        return here_->net()->make_connector(where, transport::alpn_session, expected, {}, control);
    };
    m.hello = [this, group]() -> std::optional<wire::hello> {
        auto volumes = copies_.fed(group);
        if (!volumes) {
            return std::nullopt;
        }
        wire::hello h;
        h.features_offered = wire::features_known;
        h.group = group;
        h.session = random_u64();
        h.sender = identity_;
        h.instance = instance_;
        h.volumes = std::move(*volumes);
        h.clock_ms = clock_ms_of(run_.time->wall());
        return h;
    };
    m.claim = [this, group] { return copies_.claim(group); };
    m.meet_before = [this, group](role_state theirs) {
        return copies_.meet_before(group, std::move(theirs));
    };
    m.attach = [this, group](std::unique_ptr<transport::link> link, wire::hello hello,
                             std::optional<role_state> theirs) {
        return copies_.attach(group, std::move(link), std::move(hello), std::move(theirs));
    };
    m.in_session = [this, group](std::uint64_t id) { return copies_.in_session(group, id); };
    return m;
}

// ---- commands
// -----------------------------------------------------------------------------------

task<result<>> turned_groups::reverse(std::string group, bool keep_there) {
    if (config_of(group) == nullptr) {
        co_return fail(errc::not_found,
                       fmt::format("there is no group \"{}\" at this sender", group));
    }
    if (!has(group)) {
        FS_CO_CHECK(co_await take_over(group, here_->reversal_of(group, keep_there)));
    } else {
        FS_CO_CHECK(co_await served_.reverse(group, keep_there));
    }
    log::warning("group {}: this site follows from now on; what it alone had is a pinned point",
                 group);
    co_return result<>{};
}

task<result<std::vector<switchover_outcome>>>
turned_groups::switchover(std::vector<std::string> groups, duration patience) {
    return switch_over_named(
        std::move(groups),
        [this](const std::string &group) {
            sender *of = has(group) ? served_.half(group) : &plain_;
            return of != nullptr ? of->party(group) : nullptr;
        },
        [this](const std::string &group) { return config_of(group) != nullptr; }, *run_.time,
        patience);
}

/// Without a step of a group that was handed over: all of it is at the other site, and nothing is
/// kept as a point of its own.
task<result<>> turned_groups::take_over(std::string group, std::optional<role_step> step) {
    if (!turning_.insert(group).second) {
        co_return fail(errc::busy,
                       fmt::format("the role of group \"{}\" is being changed already", group));
    }
    const std::shared_ptr<void> over(nullptr, [&](void *) { turning_.erase(group); });
    FS_CO_TRY(role, co_await here_->role_of(group, {}));
    if (step) {
        FS_CO_CHECK((*step)((*role)->state));
    }
    const sender_group_config &config = *config_of(group);
    FS_CO_TRY(volumes, plain_.volumes(group));
    const interval_id newest = plain_.newest_barrier(group);
    FS_CO_CHECK(co_await plain_.release(group));
    auto made = co_await run_on(run_.disk, [&]() -> result<> {
        replica_options o;
        o.state_directory = here_->group_directory(group);
        o.was_served = own_position(newest);
        std::vector<replica_volume> all;
        for (const sender_volume_config &v : config.volumes) {
            const auto size = std::ranges::find(volumes, v.name, &volume_status::name);
            all.push_back({v.name, size == volumes.end() ? 0 : size->size, v.path});
        }
        return replica_group::create(here_->files(), o, all);
    });
    if (made) {
        made = co_await role->change([&step](group_role &r) -> result<> {
            if (!step) {
                r.serving = {};
                return {};
            }
            FS_TRY(next, (*step)(r.state));
            r.leave_as = "diverged-" + text_of(*r.state.ancestry.newest());
            r.state = next;
            r.serving = {};
            return {};
        });
    }
    if (!made) { // whatever is there is found at the next start
        plain_.take_back(group);
        co_return made;
    }
    FS_CO_CHECK(co_await copies_.add_group(copy_config_of(config)));
    add_follower(group);
    followers_[group]->start();
    co_return result<>{};
}

// ---- looks
// --------------------------------------------------------------------------------------

sender_group_status turned_groups::following(const sender_group_config &group,
                                             const receiver_group_status &copy) const {
    sender_group_status s;
    s.name = group.name;
    s.state = copy.state == receiver_state::failed ? sender_state::failed : sender_state::following;
    const pinned_peer *known = here_->trust()->find(group.name);
    s.peer = !group.peer.empty() ? group.peer : known != nullptr ? known->address : "";
    s.connected = copy.connected;
    s.role.generation = copy.role.generation;
    s.last_barrier = copy.applied_barrier;
    s.durable_barrier = copy.durable_barrier;
    s.bytes_wire = copy.bytes_wire;
    s.spool_used_bytes = copy.journal_used_bytes;
    s.spool_limit_bytes = copy.journal_limit_bytes;
    s.volumes = copy.volumes;
    s.warnings = copy.warnings;
    s.error = copy.error;
    const std::string &why = followers_.at(group.name)->trouble();
    if (!s.error && !why.empty() && !copy.connected) {
        s.error = why;
    }
    return s;
}

std::vector<sender_group_status> turned_groups::status() const {
    std::vector<sender_group_status> all;
    for (const receiver_group_status &copy : copies_.status()) {
        const sender_group_config *group = config_of(copy.name);
        if (group == nullptr) {
            continue;
        }
        const sender *half = served_.half(copy.name);
        if (half != nullptr && copy.state == receiver_state::promoted) {
            for (sender_group_status &s : half->status()) {
                all.push_back(std::move(s));
            }
        } else {
            all.push_back(following(*group, copy));
        }
    }
    return all;
}

} // namespace farshore
