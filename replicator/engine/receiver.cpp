#include "replicator/engine/receiver.hpp"

#include "replicator/base/log.hpp"
#include "replicator/engine/receiver_group.hpp"
#include "replicator/engine/sender_access.hpp"
#include "replicator/engine/tls_network.hpp"
#include "replicator/engine/trust.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <list>

namespace farshore::engine {
namespace {
constexpr duration greeting_timeout = std::chrono::seconds(10);
}

struct receiver::impl {
    impl(receiver_config c, runtime r, file_system &f, std::vector<executor> loops)
        : config(std::move(c)), run(std::move(r)), files(f), nbd_loops(std::move(loops)), tasks(run.home) {}

    receiver_config config;
    runtime run;
    file_system &files;
    std::vector<executor> nbd_loops;
    std::unique_ptr<network> net;
    std::unique_ptr<file> lock;
    trust_store trust;
    std::vector<std::unique_ptr<receiver_group>> groups;
    task_group tasks; ///< one a link being greeted or served
    std::list<transport::link *> strangers; ///< with a token, or so they say; oldest first
    condition late_; ///< a link greeted, or stop
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
        return fail(errc::not_found, fmt::format("there is no group \"{}\" at this receiver", name));
    }
    std::string trust_path() const { return join_path(config.state, "trust.json"); }
    /// Takes hold only when it is on the disk, so that a failure leaves what was.
    result<> change_trust(trust_store changed) {
        FS_CHECK(files.replace_file(trust_path(), as_bytes(changed.to_json())));
        trust = std::move(changed);
        return {};
    }
    result<> open_state();
    std::shared_ptr<replica_group> lend(const std::string &lender, const std::string &borrower) const;
    bool trusts(const std::string &fingerprint, const std::string &alpn) const;
    task<void> greet(std::unique_ptr<transport::link> link);
    task<void> greet_stranger(std::unique_ptr<transport::link> link);
    result<> settle_owner(const receiver_group &group, const wire::hello &hello, const transport::link &link);
    task<void> refuse(std::unique_ptr<transport::link> link, wire::refusal_code code, std::string text);
    task<void> close_late(std::shared_ptr<transport::link *> link);
    task<void> take_join(std::unique_ptr<transport::link> link, bytes_view payload);
};

receiver::receiver(receiver_config config, runtime run, file_system &files, std::vector<executor> nbd_loops)
    : impl_(new impl(std::move(config), std::move(run), files, std::move(nbd_loops))) {}
receiver::~receiver() = default;

void receiver_access::set_network(receiver &r, std::unique_ptr<network> net) { r.impl_->net = std::move(net); }
result<std::vector<std::shared_ptr<block_device>>>
receiver_access::open_devices(receiver &r, const std::string &group, const std::string &point) {
    FS_TRY(g, r.impl_->find(group));
    FS_TRY(opened, g->open_devices(point));
    return opened.devices;
}

result<> receiver::impl::open_state() {
    FS_CHECK(files.make_directories(config.state));
    FS_TRY(lock_file, files.open(join_path(config.state, "lock"), open_mode::create));
    if (auto locked = lock_file->lock(); !locked) {
        return fail(locked.error().code, fmt::format("the state directory {} is used by another daemon", config.state));
    }
    lock = std::move(lock_file);
    FS_TRY(present, files.exists(trust_path()));
    if (present) {
        FS_TRY(text, files.read_file(trust_path()));
        auto parsed = trust_store::parse(std::string(as_text(text)));
        if (!parsed) {
            return fail(parsed.error().code, fmt::format("{}: {}", trust_path(), parsed.error().context));
        }
        trust = std::move(*parsed);
    }
    return {};
}

// In the TLS handshake: sessions only from pinned certificates, joins only while an invitation is open.
bool receiver::impl::trusts(const std::string &fingerprint, const std::string &alpn) const {
    if (alpn == transport::alpn_join) {
        return trust.has_open_invitation(run.time->wall());
    }
    return config.tls.has_value() || trust.knows_fingerprint(fingerprint);
}

// Only between groups of one sender: a loan tells it that its digest is right.
std::shared_ptr<replica_group> receiver::impl::lend(const std::string &lender, const std::string &borrower) const {
    const receiver_group *group = lookup(lender);
    const pinned_peer *theirs = trust.find(lender);
    const pinned_peer *ours = trust.find(borrower);
    const bool same_sender =
        config.tls.has_value() || (theirs != nullptr && ours != nullptr && theirs->fingerprint == ours->fingerprint);
    return group != nullptr && lender != borrower && same_sender ? group->copy() : nullptr;
}

task<result<>> receiver::start() {
    impl &m = *impl_;
    FS_CO_CHECK(m.open_state());
    if (!m.net) {
        FS_CO_TRY(net, tls_network::open(m.files, m.config.state, m.config.tls, m.run));
        m.net = std::move(net);
    }
    for (const receiver_group_config &g : m.config.groups) {
        receiver_group_options o;
        o.config = g;
        o.state_directory = join_path(join_path(m.config.state, "groups"), g.name);
        o.lender = [&m, borrower = g.name](const std::string &lender) { return m.lend(lender, borrower); };
        o.memory = receiver_memory_of(m.config.memory_bytes_max, m.config.groups.size());
        auto group = std::make_unique<receiver_group>(std::move(o), m.run, m.files, m.nbd_loops);
        auto started = co_await group->start();
        if (!started) {
            co_await stop(duration{});
            co_return fail(started.error().code, fmt::format("group \"{}\": {}", g.name, started.error().context));
        }
        m.groups.push_back(std::move(group));
    }
    auto listening = m.net->listen(
        m.config.listen,
        [&m](const std::string &fingerprint, const std::string &alpn, const std::string &) {
            return m.trusts(fingerprint, alpn);
        },
        [&m](std::unique_ptr<transport::link> link) {
            const bool stranger = link->application() == transport::alpn_join;
            m.tasks.spawn(stranger ? m.greet_stranger(std::move(link)) : m.greet(std::move(link)));
        });
    if (!listening) {
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

task<void> receiver::stop(duration) {
    impl &m = *impl_;
    end_commands();
    m.stopping = true;
    m.late_.notify_all();
    if (m.net) {
        co_await m.net->close();
    }
    for (auto &g : m.groups) {
        co_await g->stop();
    }
    co_await m.tasks.join();
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

// While an invitation is open anybody may connect to join: so many at a time, as before the handshake's end. The
// oldest gives way, so that who holds them all open can't shut out the one that was invited.
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

task<void> receiver::impl::greet(std::unique_ptr<transport::link> link) {
    const auto late = std::make_shared<transport::link *>(link.get());
    tasks.spawn(close_late(late));
    auto first = co_await link->receive();
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
        log::warning("{}: closed, it did not begin with a hello", link->peer_address());
        link->close();
        co_return;
    }
    auto hello = wire::parse<wire::hello>(first->payload.view());
    if (!hello) {
        log::warning("{}: closed: {}", link->peer_address(), hello.error().text());
        link->close();
        co_return;
    }
    receiver_group *group = lookup(hello->group);
    if (group == nullptr) {
        co_await refuse(std::move(link), wire::refusal_code::not_paired, judge_hello({}, *hello).text);
        co_return;
    }
    const pinned_peer *peer = trust.find(hello->group);
    const bool pinned = config.tls || (peer != nullptr && peer->fingerprint == link->peer_fingerprint());
    if (config.tls && hello->link == 0) { // data links are known by their session
        if (auto owned = settle_owner(*group, *hello, *link); !owned) {
            log::warning("group {}: refused the sender at {} (fingerprint {}): {}", group->name(), link->peer_address(),
                         link->peer_fingerprint(), owned.error().text());
            const bool other = is(owned.error(), errc::refused);
            co_await refuse(std::move(link), other ? wire::refusal_code::busy : wire::refusal_code::failed,
                            other ? owned.error().context : owned.error().text());
            co_return;
        }
    }
    co_await group->attach(std::move(link), std::move(*hello), pinned);
}

// Any certificate of the site's CA passes the handshake, so the sender's identity tells whose the group is: that of the
// first one that was accepted. Two that took turns would each overwrite what the other sent.
result<> receiver::impl::settle_owner(const receiver_group &group, const wire::hello &hello, const transport::link &link) {
    const pinned_peer *known = trust.find(group.name());
    const std::string id = to_hex(hello.sender);
    if (known != nullptr && !known->sender.empty()) {
        return known->sender == id ? result<>{}
                                   : fail(errc::refused,
                                          fmt::format("group \"{}\" is another sender's; if that one is gone for good, run "
                                                      "`farshore unpair {}` at the receiver",
                                                      group.name(), group.name()));
    }
    if (!group.judge(hello, true).accept) {
        return {}; // attach() says why
    }
    trust_store changed = trust;
    changed.pin(group.name(), {link.peer_fingerprint(), link.peer_address(), id});
    return change_trust(std::move(changed));
}

task<void> receiver::impl::refuse(std::unique_ptr<transport::link> link, wire::refusal_code code, std::string text) {
    wire::refusal r;
    r.code = static_cast<std::uint8_t>(code);
    r.text = std::move(text);
    transport::message m;
    m.type = static_cast<std::uint16_t>(wire::message_type::refusal);
    m.payload = wire::encode(r);
    co_await link->send(std::move(m));
    link->close();
}

task<void> receiver::impl::take_join(std::unique_ptr<transport::link> link, bytes_view payload) {
    wire::join_reply reply;
    if (auto request = wire::parse<wire::join_request>(payload)) {
        const pinned_peer *present = trust.find(request->group);
        const bool taken = present != nullptr && present->fingerprint != link->peer_fingerprint();
        // Two senders of one group would take turns in overwriting the copy: the operator has to say which goes.
        trust_store changed = trust;
        result<> redeemed = taken ? result<>(fail(errc::refused,
                                     fmt::format("group \"{}\" is paired with another sender; if that one is gone for good, "
                                                 "run `farshore unpair {}` at the receiver first",
                                                 request->group, request->group)))
                              : changed.redeem(request->group, request->secret, run.time->wall());
        if (redeemed) {
            changed.pin(request->group, {link->peer_fingerprint(), link->peer_address()});
            if (auto stored = change_trust(std::move(changed)); !stored) {
                redeemed = fail(stored.error().code, fmt::format("the receiver can't store it, the token stays good: {}",
                                                                 stored.error().text()));
            }
        }
        reply.ok = redeemed.has_value();
        if (redeemed) {
            log::info("group {}: paired with the sender at {} (fingerprint {})", request->group, link->peer_address(),
                      link->peer_fingerprint());
        } else {
            reply.text = redeemed.error().context;
            log::warning("{} (fingerprint {}) tried to join group \"{}\": {}", link->peer_address(),
                         link->peer_fingerprint(), request->group, reply.text);
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
    for (const auto &g : impl_->groups) {
        out.push_back(g->status());
    }
    return out;
}

task<result<std::vector<point_info>>> receiver::points(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return g->points();
}

task<result<opened_point>> receiver::open(std::string group, std::string point, bool writable, std::string nbd) {
    FS_CO_TRY(g, impl_->find(group));
    if (writable) {
        co_return fail(errc::invalid, "this version opens points read-only; leave --writable out");
    }
    co_return co_await g->open_point(std::move(point), std::move(nbd));
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
    co_return fail(errc::not_found, fmt::format("nothing is open under the id \"{}\"; `farshore opened` lists what is", id));
}

result<invitation> receiver::invite(const std::string &group, const std::string &address) {
    FS_CHECK(impl_->find(group));
    FS_CHECK(transport::parse_address(address));
    const std::string secret = random_secret();
    const wall_time expires = impl_->run.time->wall() + invitation_lifetime;
    trust_store changed = impl_->trust;
    changed.add_invitation(group, secret, expires);
    FS_CHECK(impl_->change_trust(std::move(changed)));
    return invitation{encode_token({group, address, impl_->net->fingerprint(), secret}), expires};
}

std::vector<peer_status> receiver::peers() const {
    std::vector<peer_status> out;
    for (const auto &[group, peer] : impl_->trust.peers()) {
        const receiver_group *g = impl_->lookup(group);
        const bool connected = g != nullptr && g->connected();
        out.push_back({group, connected ? g->session_address() : peer.address, peer.fingerprint, connected});
    }
    return out;
}

result<> receiver::unpair(const std::string &group) {
    FS_TRY(g, impl_->find(group));
    trust_store changed = impl_->trust;
    if (!changed.unpin(group)) {
        return fail(errc::not_found, fmt::format("group \"{}\" is not paired", group));
    }
    FS_CHECK(impl_->change_trust(std::move(changed)));
    g->drop_session("the pairing was removed");
    return {};
}

} // namespace farshore::engine
