#include "replicator/receiver/receiver.hpp"

#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_access.hpp"
#include "replicator/receiver/receiver_door.hpp"
#include "replicator/receiver/receiver_group.hpp"
#include "replicator/session/group_starts.hpp"
#include "replicator/session/peer_trust.hpp"
#include "replicator/session/state_directory.hpp"
#include "replicator/session/tls_network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace farshore {
namespace {
constexpr duration invitations_every = std::chrono::minutes(1);
constexpr duration own_files_every = std::chrono::seconds(10);
} // namespace

struct receiver::impl {
    impl(receiver_config c, runtime r, file_system &f, std::vector<executor> loops)
        : config(std::move(c)), run(std::move(r)), files(f), nbd_loops(std::move(loops)),
          tasks(run.home), stops(run.home) {}

    receiver_config config;
    runtime run;
    file_system &files;
    std::vector<executor> nbd_loops;
    std::unique_ptr<network> net;
    pool_maker pools;
    state_directory state{files, run.disk, config.state};
    std::vector<std::unique_ptr<receiver_group>> groups;
    task_group tasks;
    task_group stops; ///< of groups
    group_starts starts{tasks};
    std::set<const receiver_group *> starting;
    receiver_door door{run, state.trust, mode(),
                       [this](const std::string &name) { return lookup(name); }};
    condition files_wanted_; ///< SIGHUP, or stop
    condition invitations_;  ///< there is a new one, or stop
    bool stopping = false;

    receiver_group *lookup(const std::string &name) const {
        for (const auto &g : groups) {
            if (g->name() == name) {
                return g.get();
            }
        }
        return nullptr;
    }
    result<receiver_group *> find(const std::string &name) const {
        if (receiver_group *g = lookup(name)) {
            return g;
        }
        return fail(errc::not_found,
                    fmt::format("there is no group \"{}\" at this receiver", name));
    }
    task<void> start_group(receiver_group &group);
    loan_offer lend(const std::string &lender, const std::string &borrower) const;
    trust_mode mode() const { return config.tls ? trust_mode::site_ca : trust_mode::pinned; }
    task<void> watch_files();
    task<void> watch_invitations();
};

receiver::receiver(receiver_config config, runtime run, file_system &files,
                   std::vector<executor> nbd_loops)
    : impl_(new impl(std::move(config), std::move(run), files, std::move(nbd_loops))) {}
receiver::~receiver() = default;
void receiver::use_pools(pool_maker make) { impl_->pools = std::move(make); }

void receiver_access::set_network(receiver &r, std::unique_ptr<network> net) {
    r.impl_->net = std::move(net);
}
task<result<std::vector<std::shared_ptr<block_device>>>>
receiver_access::open_devices(receiver &r, std::string group, std::string point) {
    FS_CO_TRY(g, r.impl_->find(group));
    FS_CO_CHECK(co_await g->reach(point, {}));
    FS_CO_TRY(opened, g->open_devices(point));
    co_return opened.devices;
}

// Only between groups of one sender: a loan tells it that its digest is right.
loan_offer receiver::impl::lend(const std::string &lender, const std::string &borrower) const {
    receiver_group *group = lookup(lender);
    const pinned_peer *theirs = state.trust->find(lender);
    const pinned_peer *ours = state.trust->find(borrower);
    const receiver_group *asking = lookup(borrower);
    const bool allowed =
        group != nullptr && asking != nullptr && group->may_lend() && asking->may_lend();
    const bool may = allowed && lender != borrower && same_sender(mode(), theirs, ours);
    return may ? group->lends() : loan_offer{};
}

task<void> receiver::impl::start_group(receiver_group &group) {
    starting.insert(&group);
    co_await group.start();
    starting.erase(&group);
    if (stopping) { // its disk answered too late; a copy is closed by who has opened it
        co_await group.stop();
    }
}

task<result<>> receiver::start() {
    impl &m = *impl_;
    FS_CO_CHECK(co_await m.state.open());
    if (!m.net) {
        FS_CO_TRY(net, co_await run_on(m.run.disk, [&m] {
                      return tls_network::open(m.files, m.config.state, m.config.tls, m.run);
                  }));
        m.net = std::move(net);
    }
    const std::uint64_t client_bytes = client_bytes_of(m.config.memory_bytes_max);
    const auto account = std::make_shared<memory_account>(client_bytes);
    const auto places = nbd::make_client_places(m.config.groups.size());
    for (const receiver_group_config &g : m.config.groups) {
        receiver_group_options o;
        o.config = g;
        o.state_directory = join_path(join_path(m.config.state, "groups"), g.name);
        o.lender = [&m, borrower = g.name](const std::string &lender) {
            return m.lend(lender, borrower);
        };
        o.memory =
            receiver_memory_of(m.config.memory_bytes_max - client_bytes, m.config.groups.size());
        o.account = account;
        o.places = places;
        o.make_point_disk = [&m] { return pool_for(m.run, m.pools, m.config.groups.size()); };
        auto group = std::make_unique<receiver_group>(
            std::move(o), runtime_for_group(m.run, m.pools, m.config.groups.size()), m.files,
            m.nbd_loops);
        m.starts.spawn(m.start_group(*group));
        m.groups.push_back(std::move(group));
    }
    co_await m.starts.settle(*m.run.time, group_start_patience);
    for (const auto &[group, peer] : m.state.trust->peers()) {
        m.door.learn_source(peer.address);
    }
    m.net->set_known([&m](const std::string &source) { return m.door.knows_source(source); });
    auto listening = m.net->listen(
        m.config.listen, [&m](const transport::peer_claim &peer) { return m.door.trusts(peer); },
        [&m](std::unique_ptr<transport::link> link) { m.door.take(std::move(link)); });
    if (!listening) {
        log::error("{}", listening.error().text()); // the stop may have to wait for a disk
        co_await stop(duration{});
        co_return listening;
    }
    m.tasks.spawn(m.watch_invitations());
    if (m.config.tls) {
        m.tasks.spawn(m.watch_files());
    }
    co_return result<>{};
}

void receiver::end_commands() {
    for (auto &g : impl_->groups) {
        g->end_commands();
    }
}

// An hour is an hour whatever the wall clock does meanwhile: what has run out is ended on the disk.
task<void> receiver::impl::watch_invitations() {
    while (!stopping) {
        if (!state.trust->has_open_invitation(run.time->wall())) {
            co_await invitations_.wait();
        } else {
            co_await invitations_.wait_until(*run.time, run.time->now() + invitations_every);
        }
        if (stopping) {
            co_return;
        }
        const auto stored =
            co_await state.trust.change([now = run.time->wall()](trust_store &trust) -> result<> {
                trust.settle_invitations(now);
                return {};
            });
        if (!stored) {
            log::warning("{}", stored.error().text());
        }
    }
}

task<void> receiver::impl::watch_files() {
    while (!stopping) {
        co_await files_wanted_.wait_until(*run.time, run.time->now() + own_files_every);
        if (!stopping && co_await net->refresh()) {
            for (const auto &g : groups) {
                g->drop_session("the files of [tls] changed");
            }
            door.drop_silent();
        }
    }
}

void receiver::reload() { impl_->files_wanted_.notify_all(); }

task<void> receiver::stop(duration) {
    impl &m = *impl_;
    end_commands();
    m.stopping = true;
    m.starts.give_up();
    m.door.close();
    m.files_wanted_.notify_all();
    m.invitations_.notify_all();
    if (m.net) {
        co_await m.net->close();
    }
    for (auto &g : m.groups) { // all at once: the time to stop is the daemon's, not a group's
        if (!m.starting.contains(g.get())) {
            m.stops.spawn(g->stop());
        }
    }
    co_await m.stops.join();
    co_await m.door.join();
    co_await m.tasks
        .join(); // last: a group that is being started may wait for a disk that does not answer
    m.groups.clear();
}

std::uint16_t receiver::port() const { return impl_->net ? impl_->net->port() : std::uint16_t{0}; }

std::vector<receiver_group_status> receiver::status() const {
    std::vector<receiver_group_status> out;
    const std::vector<std::string> warnings =
        impl_->net ? impl_->net->warnings(impl_->run.time->wall()) : std::vector<std::string>{};
    for (const auto &g : impl_->groups) {
        out.push_back(g->status());
        out.back().warnings.insert(out.back().warnings.end(), warnings.begin(), warnings.end());
    }
    return out;
}

task<result<std::vector<point_info>>> receiver::points(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->points();
}

task<result<>> receiver::reach(std::string group, std::string point, progress_report progress) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->reach(std::move(point), std::move(progress));
}

std::optional<std::string> receiver::held_back(const std::string &group) const {
    const receiver_group *g = impl_->lookup(group);
    return g != nullptr ? g->held_back() : std::nullopt;
}

task<result<opened_point>> receiver::open(std::string group, std::string point, bool writable,
                                          std::string nbd, bool suspect) {
    FS_CO_TRY(g, impl_->find(group));
    if (writable) {
        co_return fail(errc::invalid, "this version opens points read-only; leave --writable out");
    }
    co_return co_await g->open_point(std::move(point), std::move(nbd), suspect);
}

std::vector<opened_point> receiver::opened() const {
    std::vector<opened_point> out;
    for (const auto &g : impl_->groups) {
        std::ranges::move(g->opened(), std::back_inserter(out));
    }
    return out;
}

task<result<>> receiver::close(std::string id) {
    for (const auto &g : impl_->groups) {
        if (co_await g->close_point(id)) {
            co_return result<>{};
        }
    }
    co_return fail(
        errc::not_found,
        fmt::format("nothing is open under the id \"{}\"; `farshore opened` lists what is", id));
}

task<result<invitation>> receiver::invite(std::string group, std::string address) {
    FS_CO_CHECK(impl_->find(group));
    FS_CO_TRY(where, transport::parse_address(address));
    if (where.port == 0) {
        co_return fail(
            errc::invalid,
            fmt::format("\"{}\": port 0 can't be connected to; give the port that senders reach",
                        address));
    }
    const std::string secret = random_secret();
    const wall_time now = impl_->run.time->wall();
    FS_CO_CHECK(co_await impl_->state.trust.change([&](trust_store &trust) -> result<> {
        trust.settle_invitations(now);
        trust.add_invitation(group, secret, now);
        return {};
    }));
    impl_->invitations_.notify_all();
    co_return invitation{encode_token({group, address, impl_->net->fingerprint(), secret}),
                         now + invitation_lifetime};
}

std::vector<open_invitation> receiver::invitations() const {
    return impl_->state.trust->open_invitations(impl_->run.time->wall());
}

task<result<>> receiver::revoke(std::string id) {
    co_return co_await impl_->state.trust.change(
        [&id, now = impl_->run.time->wall()](trust_store &trust) -> result<> {
            return trust.revoke(id, now)
                       ? result<>()
                       : fail(errc::not_found, fmt::format("there is no open invitation \"{}\"; "
                                                           "`farshore invite --list` lists them",
                                                           id));
        });
}

std::vector<peer_status> receiver::peers() const {
    std::vector<peer_status> out;
    for (const auto &[group, peer] : impl_->state.trust->peers()) {
        const receiver_group *g = impl_->lookup(group);
        const bool connected = g != nullptr && g->connected();
        out.push_back(
            {group, connected ? g->session_address() : peer.address, peer.fingerprint, connected});
    }
    return out;
}

task<result<>> receiver::unpair(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    bool paired = false;
    FS_CO_CHECK(co_await impl_->state.trust.change([&](trust_store &trust) -> result<> {
        paired = trust.unpin(group) || paired; // invitations end as well, paired or not
        return {};
    }));
    if (!paired) {
        co_return fail(errc::not_found, fmt::format("group \"{}\" is not paired", group));
    }
    g->drop_session("the pairing was removed");
    co_return result<>{};
}

} // namespace farshore
