// Accepts connections and hands over those whose peer has proved who it is. Until then a connection
// may cost a descriptor while it is silent, then one of sessions_unauthenticated_max places,
// handshake_bytes_max bytes and handshake_timeout. Who waits and who gives way: guest_policy.hpp.
// Nothing but the accept itself holds up the queue of the kernel, so that a paired peer behind
// strangers is seen.

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/log_repeat.hpp"
#include "transport/guest_policy.hpp"
#include "transport/refusal_log.hpp"
#include "transport/tls_connection.hpp"

#include <algorithm>
#include <list>
#include <vector>

namespace farshore::transport {
namespace {

/// The oldest handshake gives way after this part of the timeout, when somebody waits.
constexpr int patience_part = 5;
/// After an accept that failed, mostly for want of descriptors.
constexpr duration accept_pause_min = std::chrono::milliseconds(100);
constexpr duration accept_pause_max = std::chrono::seconds(2);

/// errc::busy for an address in use, else the system's error.
std::unexpected<error> cannot_listen(const address &where, std::error_code code) {
    const std::string what = "can't listen on " + to_text(where);
    if (code == asio::error::address_in_use) {
        return fail(errc::busy, what);
    }
    return fail(code, what);
}

} // namespace

struct tls_listener::impl : std::enable_shared_from_this<tls_listener::impl> {
    /// A connection before authentication; in the lobby until it has spoken, then waiting for a
    /// place, then a guest.
    struct guest {
        std::shared_ptr<tls_connection> connection;
        guest_facts facts;
        bool evicted() const { return facts.leaving; }
    };
    using guest_list = std::list<guest>;

    impl(executor h, tls_options o, on_link f)
        : home(std::move(h)), options(std::move(o)), handler(std::move(f)), time(clock_of(options)),
          acceptor(home), tasks(home) {}

    const executor home;
    tls_options options;
    const on_link handler;
    time_source &time;
    ssl_ctx_ptr context;
    asio::ip::tcp::acceptor acceptor;
    task_group tasks;
    guest_list lobby;   ///< each in order of arrival
    guest_list waiting; ///< have spoken, and there is no place
    guest_list guests;
    condition moved; ///< somebody left one of them
    refusal_log refusals;
    log::repeats strangers; ///< who showed no certificate: a port check does so each second
    bool closing = false;

    result<> listen(const address &where);
    void refused(const error &why, const std::string &peer = {},
                 const std::string &fingerprint = {});
    tls_session::setup setup(std::string peer) const;
    static std::vector<guest_facts> facts_of(const guest_list &list);
    static void evict(guest_list &from, std::size_t index);
    bool try_enter(guest_list::iterator who);
    static task<void> accept_all(std::shared_ptr<impl> self);
    static task<result<>> reach_place(std::shared_ptr<impl> self, guest_list::iterator who,
                                      const deadline &limit);
    static task<void> serve(std::shared_ptr<impl> self, guest_list::iterator who);
    static task<void> close(std::shared_ptr<impl> self);
};

result<> tls_listener::impl::listen(const address &where) {
    REPL_ASSERT(!acceptor.is_open());
    FS_TRY(made, make_tls_context(options, tls_role::accepting));
    context = std::move(made);
    std::error_code code;
    asio::ip::tcp::resolver resolver(home);
    const auto found = resolver.resolve(
        where.host, std::to_string(where.port),
        asio::ip::resolver_base::passive | asio::ip::resolver_base::numeric_service, code);
    if (code || found.empty()) {
        return fail(errc::not_found, "can't listen on " + to_text(where) + ": no such address (" +
                                         code.message() + ")");
    }
    const tcp_endpoint endpoint = found.begin()->endpoint();
    acceptor.open(endpoint.protocol(), code);
    if (!code) {
        acceptor.set_option(asio::socket_base::reuse_address(true), code);
    }
    if (!code) {
        acceptor.bind(endpoint, code);
    }
    if (!code) {
        acceptor.listen(asio::socket_base::max_listen_connections, code);
    }
    if (code) {
        std::error_code ignored;
        acceptor.close(ignored);
        return cannot_listen(where, code);
    }
    tasks.spawn(accept_all(shared_from_this()));
    return {};
}

/// Who shows a certificate is told by it (refusal_log.hpp). Of the others `peer`, whose port
/// differs each time, is left out of what makes two refusals the same.
void tls_listener::impl::refused(const error &why, const std::string &peer,
                                 const std::string &fingerprint) {
    if (!fingerprint.empty()) {
        if (const auto left_out = refusals.allow(time.now(), fingerprint)) {
            log::warning("refused a connection: {}{}", why.text(), left_out_text(*left_out));
        }
        return;
    }
    const std::string text = why.text();
    std::string kind = text;
    if (const auto at = peer.empty() ? std::string::npos : kind.find(peer);
        at != std::string::npos) {
        kind.replace(at, peer.size(), peer.substr(0, peer.rfind(':')));
    }
    if (const auto more = strangers.failed(kind, time.now())) {
        log::warning("refused a connection: {}{}", text, *more);
    }
}

tls_session::setup tls_listener::impl::setup(std::string peer) const {
    return {.context = context.get(),
            .role = tls_role::accepting,
            .alpn = {},
            .trust = options.trust,
            .has_ca = !options.ca_pem.empty(),
            .address = std::move(peer),
            .key_update_bytes = options.key_update_bytes};
}

std::vector<guest_facts> tls_listener::impl::facts_of(const guest_list &list) {
    std::vector<guest_facts> out;
    for (const guest &g : list) {
        out.push_back(g.facts);
    }
    return out;
}

void tls_listener::impl::evict(guest_list &from, std::size_t index) {
    guest &g = *std::next(from.begin(), static_cast<std::ptrdiff_t>(index));
    g.facts.leaving = true;
    g.connection->interrupt();
}

/// From the list of those who wait into the places, if it may.
bool tls_listener::impl::try_enter(guest_list::iterator who) {
    const bool known_waits =
        std::ranges::any_of(waiting, [](const guest &g) { return g.facts.known; });
    const auto verdict = judge_place(facts_of(guests), who->facts, known_waits, time.now(),
                                     options.handshake_timeout / patience_part);
    if (verdict.gives_way) {
        evict(guests, *verdict.gives_way);
    }
    if (verdict.enter) {
        guests.splice(guests.end(), waiting, who);
    }
    return verdict.enter;
}

/// Returns when its first byte has come and it has a place.
task<result<>> tls_listener::impl::reach_place(std::shared_ptr<impl> self, guest_list::iterator who,
                                               const deadline &limit) {
    const auto spoke = co_await who->connection->first_byte();
    self->waiting.splice(self->waiting.end(), self->lobby, who);
    if (!spoke) {
        co_return spoke;
    }
    while (!self->try_enter(who)) {
        if (limit.expired() || who->evicted() || self->closing) {
            co_return fail(errc::cancelled, "the connection to " + who->connection->address());
        }
        co_await self->moved.wait_until(
            self->time, self->time.now() + self->options.handshake_timeout / patience_part / 4);
    }
    self->moved.notify_all(); // a stranger waits while somebody known does
    co_return result<>();
}

task<void> tls_listener::impl::accept_all(std::shared_ptr<impl> self) {
    duration pause = accept_pause_min;
    for (;;) {
        tcp_socket socket(self->home);
        const auto [code] = co_await self->acceptor.async_accept(socket, as_result);
        if (self->closing) {
            co_return;
        }
        if (code) {
            // Mostly out of file descriptors: not a reason to end, nor to spin.
            self->refused(error{code, "accepting a connection"});
            co_await self->moved.wait_until(self->time, self->time.now() + pause);
            pause = std::min(2 * pause, accept_pause_max);
            continue;
        }
        pause = accept_pause_min;
        std::error_code gone;
        const tcp_endpoint peer = socket.remote_endpoint(gone);
        if (gone) {
            continue;
        }
        set_tcp_options(socket);
        const std::string source = source_of(peer.address().to_string());
        const bool known = self->options.known && self->options.known(source);
        auto connection = std::make_shared<tls_connection>(
            std::move(socket), self->setup(to_text(peer)), self->options.pace);
        self->lobby.push_back({std::move(connection), {source, known, false, self->time.now()}});
        self->tasks.spawn(serve(self, std::prev(self->lobby.end())));
        if (const auto leaves = leaves_lobby(facts_of(self->lobby), self->time.now())) {
            evict(self->lobby, *leaves);
        }
    }
}

task<void> tls_listener::impl::serve(std::shared_ptr<impl> self, guest_list::iterator who) {
    const auto connection = who->connection;
    {
        const deadline limit(self->home, self->time,
                             who->facts.since + self->options.handshake_timeout,
                             [&c = *connection] { c.interrupt(); });
        auto done = co_await reach_place(self, who, limit);
        const bool has_place = done.has_value();
        if (done) {
            done = co_await connection->accept_side(limit);
        }
        if (!done && !self->closing) {
            const bool early = limit.expired() || who->evicted();
            if (who->evicted()) {
                done = fail(errc::timeout, "too many connections at once, one of them from " +
                                               connection->address());
            } else if (limit.expired()) {
                done = fail(errc::timeout, "the TLS handshake with " + connection->address());
            }
            self->refused(done.error(), connection->address(), connection->peer_fingerprint());
            if (!early && has_place) {
                co_await connection->let_go(limit);
            }
        }
        const bool hand_over = done && !self->closing;
        (has_place ? self->guests : self->waiting).erase(who);
        self->moved.notify_all();
        if (!hand_over) {
            connection->close();
            co_return;
        }
    }
    connection->limit_first_message(self->options.first_message_bytes_max);
    self->handler(make_tls_link(connection));
}

task<void> tls_listener::impl::close(std::shared_ptr<impl> self) {
    self->closing = true;
    std::error_code ignored;
    self->acceptor.close(ignored);
    for (const guest_list *list : {&self->lobby, &self->waiting, &self->guests}) {
        for (const guest &g : *list) {
            g.connection->interrupt();
        }
    }
    self->moved.notify_all();
    co_await self->tasks.join();
}

tls_listener::tls_listener(executor home, tls_options options, on_link handler)
    : impl_(std::make_shared<impl>(std::move(home), std::move(options), std::move(handler))) {}
tls_listener::~tls_listener() = default;

result<> tls_listener::listen(const address &where) { return impl_->listen(where); }

result<> tls_listener::use(const identity &self, const std::string &ca_pem,
                           const std::string &crl_pem) {
    tls_options changed = impl_->options;
    changed.self = self;
    changed.ca_pem = ca_pem;
    changed.crl_pem = crl_pem;
    FS_TRY(context, make_tls_context(changed, tls_role::accepting));
    impl_->options = std::move(changed);
    impl_->context = std::move(context); // connections that are there hold the old one
    return {};
}

std::uint16_t tls_listener::port() const {
    std::error_code code;
    const auto endpoint = impl_->acceptor.local_endpoint(code);
    return code ? std::uint16_t{0} : endpoint.port();
}

task<void> tls_listener::close() { return impl::close(impl_); }

} // namespace farshore::transport
