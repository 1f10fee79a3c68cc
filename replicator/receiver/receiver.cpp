#include "replicator/receiver/receiver.hpp"

#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_access.hpp"
#include "replicator/receiver/receiver_group.hpp"
#include "replicator/session/group_starts.hpp"
#include "replicator/session/peer_trust.hpp"
#include "replicator/session/state_directory.hpp"
#include "replicator/session/tls_network.hpp"
#include "transport/guest_policy.hpp"
#include "transport/refusal_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <map>
#include <set>

namespace farshore {
namespace {
constexpr duration greeting_timeout = std::chrono::seconds(10);
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
    task_group tasks; ///< one a link being greeted or served
    task_group stops; ///< of groups
    group_starts starts{tasks};
    std::set<const receiver_group *> starting;
    std::list<transport::link *> strangers; ///< with a token, or so they say; oldest first
    std::map<std::string, std::list<transport::link *>>
        silent;                          ///< by fingerprint: paired, and no hello yet; oldest first
    std::set<std::string> known_sources; ///< where paired senders last came from
    condition late_;                     ///< a link greeted, or stop
    condition files_wanted_;             ///< SIGHUP, or stop
    condition invitations_;              ///< there is a new one, or stop
    transport::refusal_log refusals_;
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
    result<> trusts(const transport::peer_claim &peer) const;
    trust_mode mode() const { return config.tls ? trust_mode::site_ca : trust_mode::pinned; }
    peer_verdict judge(const receiver_group &group, const wire::hello &hello,
                       const transport::link &link) const;
    task<void> greet(std::unique_ptr<transport::link> link);
    task<void> greet_stranger(std::unique_ptr<transport::link> link);
    task<result<transport::message>> first_message(transport::link &link);
    std::size_t silent_max(const std::string &fingerprint) const;
    void learn_source(const std::string &address);
    task<result<>> settle_owner(const receiver_group &group, const wire::hello &hello,
                                const transport::link &link);
    task<void> watch_files();
    task<void> watch_invitations();
    void note_refusal(const transport::link &link, const std::string &what);
    task<void> refuse(std::unique_ptr<transport::link> link, wire::refusal_code code,
                      std::string text);
    task<void> close_late(std::shared_ptr<transport::link *> link);
    task<void> take_join(std::unique_ptr<transport::link> link, bytes_view payload);
    static result<> redeem(trust_store &trust, const wire::join_request &request,
                           const transport::link &link, wall_time now);
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

// In the TLS handshake: sessions only from pinned certificates, joins only while an invitation is
// open. Whose group it is, is judged at the hello that names one.
result<> receiver::impl::trusts(const transport::peer_claim &peer) const {
    if (peer.alpn == transport::alpn_join) {
        return state.trust->has_open_invitation(run.time->wall())
                   ? result<>()
                   : fail(errc::not_trusted, "wants to join while no invitation is open");
    }
    const bool known =
        config.tls ? peer.signed_by_ca : state.trust->knows_fingerprint(peer.fingerprint);
    return known ? result<>() : fail(errc::not_trusted, "is not the one pinned for it");
}

peer_verdict receiver::impl::judge(const receiver_group &group, const wire::hello &hello,
                                   const transport::link &link) const {
    const pinned_peer *known = state.trust->find(group.name());
    peer_evidence e;
    e.mode = mode();
    e.signed_by_ca = config.tls.has_value(); // else the handshake would have failed
    e.fingerprint = link.peer_fingerprint();
    e.pinned = known != nullptr ? known->fingerprint : "";
    e.name_asked = !group.peer_name().empty();
    e.name_found = e.name_asked && link.peer_has_name(group.peer_name());
    e.is_sender = true;
    e.sender = to_hex(hello.sender);
    e.stored_sender = known != nullptr ? known->sender : "";
    if (e.mode == trust_mode::site_ca && hello.link != 0) {
        // A data link says only which session it belongs to: it must come from whom the control
        // link is from.
        e.mode = trust_mode::pinned;
        e.pinned = group.session_fingerprint();
    }
    return judge_peer(e);
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
        m.learn_source(peer.address);
    }
    m.net->set_known([&m](const std::string &source) { return m.known_sources.contains(source); });
    auto listening = m.net->listen(
        m.config.listen, [&m](const transport::peer_claim &peer) { return m.trusts(peer); },
        [&m](std::unique_ptr<transport::link> link) {
            const bool stranger = link->application() == transport::alpn_join;
            m.tasks.spawn(stranger ? m.greet_stranger(std::move(link)) : m.greet(std::move(link)));
        });
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

// Lines of those who were let in by TLS and no further: counted beyond one a second, whoever they
// are.
void receiver::impl::note_refusal(const transport::link &link, const std::string &what) {
    if (const auto left_out = refusals_.allow(run.time->now(), link.peer_fingerprint())) {
        log::warning("{} (fingerprint {}): {}{}", link.peer_address(), link.peer_fingerprint(),
                     what, transport::left_out_text(*left_out));
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
            for (const auto &[fingerprint, links] : silent) { // let in by the old ones
                for (transport::link *link : links) {
                    link->close();
                }
            }
        }
    }
}

void receiver::reload() { impl_->files_wanted_.notify_all(); }

task<void> receiver::stop(duration) {
    impl &m = *impl_;
    end_commands();
    m.stopping = true;
    m.starts.give_up();
    m.late_.notify_all();
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
    co_await m.tasks
        .join(); // last: a group that is being started may wait for a disk that does not answer
    m.groups.clear();
}

std::uint16_t receiver::port() const { return impl_->net ? impl_->net->port() : std::uint16_t{0}; }

// Closes a link that has not greeted in time.
task<void> receiver::impl::close_late(std::shared_ptr<transport::link *> link) {
    const time_point deadline = run.time->now() + greeting_timeout;
    while (!stopping && *link != nullptr && co_await late_.wait_until(*run.time, deadline)) {
    }
    if (*link != nullptr) {
        (*link)->close();
    }
}

// While an invitation is open anybody may connect to join: so many at a time, as before the
// handshake's end. The oldest gives way, so that who holds them all open can't shut out the one
// that was invited.
task<void> receiver::impl::greet_stranger(std::unique_ptr<transport::link> link) {
    if (strangers.size() >= limits::sessions_unauthenticated_max) {
        strangers.front()->close();
        strangers.pop_front();
    }
    transport::link *const self = link.get();
    strangers.push_back(self);
    co_await greet(std::move(link));
    std::erase(strangers, self);
}

// Before its hello a link costs little and says little. Whoever is paired may have as many of them
// as its groups can need at once; beyond, its own oldest gives way.
task<result<transport::message>> receiver::impl::first_message(transport::link &link) {
    if (link.application() == transport::alpn_join) {
        co_return co_await link.receive(); // greet_stranger() bounds them
    }
    auto &mine = silent[link.peer_fingerprint()];
    if (mine.size() >= silent_max(link.peer_fingerprint())) {
        mine.front()->close();
        mine.pop_front();
    }
    mine.push_back(&link);
    auto first = co_await link.receive();
    if (const auto now = silent.find(link.peer_fingerprint()); now != silent.end()) {
        std::erase(now->second, &link);
        if (now->second.empty()) {
            silent.erase(now);
        }
    }
    co_return first;
}

std::size_t receiver::impl::silent_max(const std::string &fingerprint) const {
    const auto of_peer = std::ranges::count_if(state.trust->peers(), [&](const auto &p) {
        return config.tls || p.second.fingerprint == fingerprint;
    });
    return (limits::data_links_max + 1) *
           static_cast<std::size_t>(std::max<std::ptrdiff_t>(of_peer, 1));
}

void receiver::impl::learn_source(const std::string &address) {
    if (known_sources.size() >= 4 * limits::groups_max) {
        known_sources.clear(); // senders that wander: they are learnt again
    }
    if (auto parsed = transport::parse_address(address)) {
        known_sources.insert(transport::source_of(parsed->host));
    }
}

task<void> receiver::impl::greet(std::unique_ptr<transport::link> link) {
    const auto late = std::make_shared<transport::link *>(link.get());
    tasks.spawn(close_late(late));
    auto first = co_await first_message(*link);
    *late = nullptr;
    late_.notify_all();
    if (!first || stopping) {
        link->close();
        co_return;
    }
    if (link->application() == transport::alpn_join) {
        if (first->type == static_cast<std::uint16_t>(wire::message_type::join_request)) {
            co_await take_join(std::move(link), first->payload.view());
        }
        co_return;
    }
    if (first->type != static_cast<std::uint16_t>(wire::message_type::hello) ||
        first->payload.size() > limits::hello_bytes_max) {
        note_refusal(*link, "closed, it did not begin with a hello");
        link->close();
        co_return;
    }
    auto hello = wire::parse<wire::hello>(first->payload.view());
    if (!hello) {
        note_refusal(*link, "closed: " + hello.error().text());
        link->close();
        co_return;
    }
    receiver_group *group = lookup(hello->group);
    if (group == nullptr) {
        co_await refuse(std::move(link), wire::refusal_code::not_paired,
                        judge_hello({}, *hello).text);
        co_return;
    }
    if (config.tls && hello->link == 0) {
        if (auto owned = co_await settle_owner(*group, *hello, *link); !owned) {
            note_refusal(*link, fmt::format("refused as sender of group {}: {}", group->name(),
                                            owned.error().text()));
            const auto code = is(owned.error(), errc::refused) ? wire::refusal_code::busy
                              : is(owned.error(), errc::not_trusted)
                                  ? wire::refusal_code::not_paired
                                  : wire::refusal_code::failed;
            co_await refuse(std::move(link), code,
                            code == wire::refusal_code::failed ? owned.error().text()
                                                               : owned.error().context);
            co_return;
        }
    }
    const peer_verdict verdict = judge(*group, *hello, *link);
    if (verdict == peer_verdict::ours) {
        learn_source(link->peer_address());
    }
    // One that was not made the owner is refused there, with the reason.
    const bool ours = verdict == peer_verdict::ours || verdict == peer_verdict::first_use;
    co_await group->attach(std::move(link), std::move(*hello), ours);
}

// Any certificate of the site's CA passes the handshake, so the sender's identity tells whose the
// group is: that of the first one that was accepted. Two that took turns would each overwrite what
// the other sent.
task<result<>> receiver::impl::settle_owner(const receiver_group &group, const wire::hello &hello,
                                            const transport::link &link) {
    const auto store = [&]() -> task<result<>> {
        return state.trust.change([this, &group, &hello, &link](trust_store &trust) -> result<> {
            // Again, since another one may have come first while the disk worked.
            if (const peer_verdict v = judge(group, hello, link);
                v == peer_verdict::ours || v == peer_verdict::first_use) {
                trust.pin(group.name(),
                          {link.peer_fingerprint(), link.peer_address(), to_hex(hello.sender)});
            }
            return {};
        });
    };
    const pinned_peer *known = state.trust->find(group.name());
    switch (judge(group, hello, link)) {
    case peer_verdict::ours:
        if (known->fingerprint != link.peer_fingerprint()) {
            log::info("group {}: its sender has a new certificate, fingerprint {}", group.name(),
                      link.peer_fingerprint());
            if (auto stored = co_await store(); !stored) { // only `peers` shows it
                log::warning("group {}: {}", group.name(), stored.error().text());
            }
        }
        co_return result<>{};
    case peer_verdict::first_use:
        co_return group.judge(hello, true).accept ? co_await store()
                                                  : result<>(); // attach() says why not
    case peer_verdict::wrong_name:
        co_return fail(
            errc::not_trusted,
            fmt::format("the certificate of this sender is not for \"{}\", which `peer_name` of "
                        "group \"{}\" at the receiver asks for",
                        group.peer_name(), group.name()));
    case peer_verdict::other:
        co_return fail(
            errc::refused,
            fmt::format("group \"{}\" is another sender's; if that one is gone for good, run "
                        "`farshore unpair {}` at the receiver",
                        group.name(), group.name()));
    case peer_verdict::unknown:
        break;
    }
    co_return result<>{}; // attach() says that it is not paired
}

task<void> receiver::impl::refuse(std::unique_ptr<transport::link> link, wire::refusal_code code,
                                  std::string text) {
    wire::refusal r;
    r.code = static_cast<std::uint8_t>(code);
    r.text = std::move(text);
    transport::message m;
    m.type = static_cast<std::uint16_t>(wire::message_type::refusal);
    m.payload = wire::encode(r);
    co_await link->send(std::move(m));
    link->close();
}

// The token first: who has none that is good learns nothing of a group, not even that it is paired.
result<> receiver::impl::redeem(trust_store &trust, const wire::join_request &request,
                                const transport::link &link, wall_time now) {
    const pinned_peer *present = trust.find(request.group);
    const bool taken = present != nullptr && present->fingerprint != link.peer_fingerprint();
    FS_CHECK(trust.redeem(request.group, request.secret, now));
    if (taken) {
        // Two senders of one group would take turns in overwriting the copy: the operator has to
        // say which goes.
        return fail(
            errc::refused,
            fmt::format("group \"{}\" is paired with another sender; if that one is gone for "
                        "good, run `farshore unpair {}` at the receiver and invite again",
                        request.group, request.group));
    }
    trust.pin(request.group, {link.peer_fingerprint(), link.peer_address()});
    return {};
}

task<void> receiver::impl::take_join(std::unique_ptr<transport::link> link, bytes_view payload) {
    wire::join_reply reply;
    if (auto request = wire::parse<wire::join_request>(payload)) {
        result<> redeemed;
        const auto stored = co_await state.trust.change(
            [&, now = run.time->wall()](trust_store &trust) -> result<> {
                redeemed = redeem(trust, *request, *link, now);
                return redeemed;
            });
        if (redeemed && !stored) {
            redeemed = fail(stored.error().code,
                            fmt::format("the receiver can't store it, the token stays good: {}",
                                        stored.error().text()));
        }
        reply.ok = redeemed.has_value();
        if (redeemed) {
            log::info("group {}: paired with the sender at {} (fingerprint {})", request->group,
                      link->peer_address(), link->peer_fingerprint());
        } else {
            reply.text = redeemed.error().context;
            note_refusal(*link,
                         fmt::format("tried to join group \"{}\": {}", request->group, reply.text));
        }
    } else {
        reply.text = "the request to join is damaged";
    }
    transport::message m;
    m.type = static_cast<std::uint16_t>(wire::message_type::join_reply);
    m.payload = wire::encode(reply);
    co_await link->send(std::move(m));
    // The sender closes; wait for it so that the reply is not cut off.
    const auto late = std::make_shared<transport::link *>(link.get());
    tasks.spawn(close_late(late));
    co_await link->receive();
    *late = nullptr;
    late_.notify_all();
    link->close();
}

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
