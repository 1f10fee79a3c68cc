#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_access.hpp"
#include "replicator/receiver/receiver_impl.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {
constexpr duration invitations_every = std::chrono::minutes(1);
} // namespace

receiver::receiver(receiver_config config, runtime run, file_system &files,
                   std::vector<executor> nbd_loops)
    : impl_(nullptr) {
    auto here = std::make_shared<site>(config.state, config.tls, std::move(run), files,
                                       std::move(nbd_loops));
    impl_ = std::make_unique<impl>(std::move(config), std::move(here));
}
receiver::receiver(receiver_config config, std::shared_ptr<site> here)
    : impl_(new impl(std::move(config), std::move(here))) {}
receiver::~receiver() = default;
void receiver::use_pools(pool_maker make) { impl_->here->use_pools(std::move(make)); }

void receiver_access::set_network(receiver &r, std::unique_ptr<network> net) {
    r.impl_->here->use_network(std::move(net));
}
task<result<std::vector<std::shared_ptr<block_device>>>>
receiver_access::open_devices(receiver &r, std::string group, std::string point) {
    FS_CO_TRY(g, r.impl_->find(group));
    FS_CO_CHECK(co_await g->reach(point, {}));
    FS_CO_TRY(opened, g->open_devices(point));
    co_return opened.devices;
}

std::vector<std::shared_ptr<block_device>> receiver_access::opened_devices(receiver &r,
                                                                           const std::string &id) {
    for (const auto &g : r.impl_->groups) {
        if (g->has_opened(id)) {
            return g->opened_devices(id);
        }
    }
    return {};
}

// Only between groups of one sender: a loan tells it that its digest is right.
loan_offer receiver::impl::lend(const std::string &lender, const std::string &borrower) const {
    receiver_group *group = lookup(lender);
    const pinned_peer *theirs = here->trust()->find(lender);
    const pinned_peer *ours = here->trust()->find(borrower);
    const receiver_group *asking = lookup(borrower);
    const bool allowed =
        group != nullptr && asking != nullptr && group->may_lend() && asking->may_lend();
    const bool may = allowed && lender != borrower && same_sender(here->mode(), theirs, ours);
    return may ? group->lends() : loan_offer{};
}

void receiver::impl::prepare_shares() {
    const std::uint64_t client_bytes = client_bytes_of(config.memory_bytes_max);
    shares.account = std::make_shared<memory_account>(client_bytes);
    // What a point will export is not known yet.
    constexpr std::size_t volumes_at_least = limits::nbd_connections_max / nbd::places_of_volume;
    shares.places = nbd::make_client_places(std::max(config.groups.size(), volumes_at_least));
    shares.group = receiver_memory_of(config.memory_bytes_max - client_bytes,
                                      std::max<std::size_t>(config.groups.size(), 1));
}

receiver_group &receiver::impl::make_group(const receiver_group_config &g) {
    receiver_group_options o;
    o.config = g;
    o.state_directory = here->group_directory(g.name);
    o.lender = [this, borrower = g.name](const std::string &lender) {
        return lend(lender, borrower);
    };
    o.role = [this, group = g.name] { return here->role_of(group, {}); };
    if (followers.control) {
        o.followed = [this, group = g.name](std::unique_ptr<transport::link> link) {
            followers.control(group, std::move(link));
        };
        o.followed_data = [this, group = g.name](std::unique_ptr<transport::link> link,
                                                 std::uint64_t session) {
            followers.data(group, std::move(link), session);
        };
        o.role_changed = [this] { followers.changed(); };
        o.met = [this, group = g.name](last_meeting m) { here->note_meeting(group, std::move(m)); };
        o.may_serve = [this, group = g.name](const std::vector<replica_volume> &volumes) {
            return followers.may_serve(group, volumes);
        };
    }
    o.memory = shares.group;
    o.account = shares.account;
    o.places = shares.places;
    o.make_point_disk = [this] { return here->pool_for(config.groups.size()); };
    groups.push_back(std::make_unique<receiver_group>(
        std::move(o), here->run_for_group(config.groups.size()), here->files(), here->nbd_loops()));
    return *groups.back();
}

task<void> receiver::impl::start_group(receiver_group &group) {
    starting.insert(&group);
    co_await group.start();
    starting.erase(&group);
    if (stopping) { // its disk answered too late; a copy is closed by who has opened it
        co_await group.stop();
    }
}

namespace {

std::string attached_directory(const receiver_config &config) { return config.control + ".d"; }

/// Sockets of attached openings that a killed process left.
result<> remove_attached(file_system &files, const std::string &directory) {
    FS_TRY(there, files.exists(directory));
    if (!there) {
        return {};
    }
    FS_TRY(names, files.list(directory));
    for (const std::string &name : names) {
        FS_CHECK(files.remove(join_path(directory, name)));
    }
    return {};
}

} // namespace

task<result<>> receiver::start() {
    impl &m = *impl_;
    FS_CO_CHECK(co_await m.here->open());
    if (!m.config.control.empty()) {
        FS_CO_CHECK(co_await run_on(m.run.disk, [&m] {
            return remove_attached(m.here->files(), attached_directory(m.config));
        }));
    }
    m.prepare_shares();
    for (const receiver_group_config &g : m.config.groups) {
        m.starts.spawn(m.start_group(m.make_group(g)));
    }
    co_await m.starts.settle(*m.run.time, group_start_patience);
    for (const auto &[group, peer] : m.here->trust()->peers()) {
        m.door.learn_source(peer.address);
    }
    network &net = *m.here->net();
    m.tasks.spawn(m.watch_invitations());
    m.here->watch_files(&m, [&m] {
        for (const auto &g : m.groups) {
            g->drop_session("the files of [tls] changed");
        }
        m.door.drop_silent();
    });
    if (m.config.listen.empty()) { // of groups that dial
        co_return result<>{};
    }
    net.set_known([&m](const std::string &source) { return m.door.knows_source(source); });
    auto listening = net.listen(
        m.config.listen, [&m](const transport::peer_claim &peer) { return m.door.trusts(peer); },
        [&m](std::unique_ptr<transport::link> link) { m.door.take(std::move(link)); });
    if (!listening) {
        log::error("{}", listening.error().text()); // the stop may have to wait for a disk
        co_await stop(duration{});
        co_return listening;
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
        if (!here->trust()->has_open_invitation(run.time->wall())) {
            co_await invitations_.wait();
        } else {
            co_await invitations_.wait_until(*run.time, run.time->now() + invitations_every);
        }
        if (stopping) {
            co_return;
        }
        const auto stored =
            co_await here->trust().change([now = run.time->wall()](trust_store &trust) -> result<> {
                trust.settle_invitations(now);
                return {};
            });
        if (!stored) {
            log::warning("{}", stored.error().text());
        }
    }
}

void receiver::reload() { impl_->here->reload(); }

task<void> receiver::stop(duration) {
    impl &m = *impl_;
    end_commands();
    m.stopping = true;
    m.starts.give_up();
    m.door.close();
    m.here->unwatch_files(&m);
    m.invitations_.notify_all();
    if (network *net = m.here->net()) {
        co_await net->close();
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
    co_await m.here->unwatched();
    m.groups.clear();
}

void receiver::use_served(std::function<void(receiver_group_status &)> describe) {
    impl_->served = std::move(describe);
}

std::uint16_t receiver::port() const {
    network *net = impl_->here->net();
    return net != nullptr ? net->port() : std::uint16_t{0};
}

std::vector<receiver_group_status> receiver::status() const {
    std::vector<receiver_group_status> out;
    const std::vector<std::string> warnings = impl_->here->warnings();
    for (const auto &g : impl_->groups) {
        out.push_back(g->status());
        if (impl_->served) {
            impl_->served(out.back());
        }
        out.back().warnings.insert(out.back().warnings.end(), warnings.begin(), warnings.end());
    }
    return out;
}

task<result<std::vector<point_info>>> receiver::points(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->points();
}

task<result<point_info>> receiver::pin(std::string group, std::string point, bool pinned) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->pin(std::move(point), pinned);
}

task<result<point_info>> receiver::forget(std::string group, std::string point) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->forget(std::move(point));
}

task<result<point_info>> receiver::note_test(std::string group, std::string point, test_info test) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->note_test(std::move(point), std::move(test));
}

task<result<>> receiver::note_unrun(std::string group, test_info test) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->note_unrun(std::move(test));
}

std::vector<start_step> receiver::start_steps(const std::string &group) const {
    const receiver_group *g = impl_->lookup(group);
    return g != nullptr ? g->start_steps() : std::vector<start_step>{};
}

task<result<std::optional<wall_time>>> receiver::begun(std::string group, std::string what) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->begun(std::move(what));
}

task<result<>> receiver::set_begun(std::string group, std::string what, wall_time at) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->set_begun(std::move(what), at);
}

task<result<recovery_report>> receiver::report(std::string group, wall_time since) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->report(since);
}

task<result<retention_outlook>> receiver::plan(std::string group, retention_trial trial) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->plan(std::move(trial));
}

task<result<std::optional<scrub_outcome>>> receiver::scrub(std::string group, bool wait,
                                                           progress_report progress) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->scrub(wait, std::move(progress));
}

task<result<>> receiver::reach(std::string group, std::string point, progress_report progress) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->reach(std::move(point), std::move(progress));
}

std::optional<std::string> receiver::held_back(const std::string &group) const {
    const receiver_group *g = impl_->lookup(group);
    return g != nullptr ? g->held_back() : std::nullopt;
}

task<result<opened_point>> receiver::open(std::string group, open_request wanted) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->open_point(std::move(wanted));
}

task<result<opened_point>> receiver::open_attached(std::string group, open_request wanted) {
    impl &m = *impl_;
    FS_CO_TRY(g, m.find(group));
    const std::string directory = attached_directory(m.config);
    FS_CO_CHECK(
        co_await run_on(m.run.disk, [&] { return m.here->files().make_directories(directory); }));
    wanted.nbd = fmt::format("unix:{}/{}", directory, ++m.attached);
    wanted.attached = true;
    co_return co_await g->open_point(std::move(wanted));
}

result<seed_target> receiver::seed_target(const std::string &group) const {
    FS_TRY(g, impl_->find(group));
    return g->seed();
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
        if (g->has_opened(id)) {
            co_return co_await g->close_point(id);
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
    FS_CO_CHECK(co_await impl_->here->trust().change([&](trust_store &trust) -> result<> {
        trust.settle_invitations(now);
        trust.add_invitation(group, secret, now);
        return {};
    }));
    impl_->invitations_.notify_all();
    co_return invitation{encode_token({group, address, impl_->here->net()->fingerprint(), secret}),
                         now + invitation_lifetime};
}

std::vector<open_invitation> receiver::invitations() const {
    return impl_->here->trust()->open_invitations(impl_->run.time->wall());
}

task<result<>> receiver::revoke(std::string id) {
    co_return co_await impl_->here->trust().change(
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
    for (const auto &[group, peer] : impl_->here->trust()->peers()) {
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
    FS_CO_CHECK(co_await impl_->here->trust().change([&](trust_store &trust) -> result<> {
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
