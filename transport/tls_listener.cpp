// Accepts connections and hands over those whose peer has proved who it is. Until then a connection
// may cost one of sessions_unauthenticated_max places, handshake_bytes_max bytes and
// handshake_timeout. When all places are taken, new ones wait in the kernel's queue; a place whose
// handshake takes unduly long (a fifth of the timeout) is then given to the next, so that somebody
// who holds them all open can't shut out honest peers.

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/log_repeat.hpp"
#include "transport/tls_connection.hpp"

#include <list>

namespace farshore::transport {
namespace {

constexpr int backlog = 256;

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
    /// A connection before authentication.
    struct guest {
        std::shared_ptr<tls_connection> connection;
        time_point since;
        bool evicted = false;
    };

    impl(executor h, tls_options o, on_link f)
        : home(std::move(h)), options(std::move(o)), handler(std::move(f)), time(clock_of(options)),
          acceptor(home), tasks(home) {}

    const executor home;
    const tls_options options;
    const on_link handler;
    time_source &time;
    ssl_ctx_ptr context;
    asio::ip::tcp::acceptor acceptor;
    task_group tasks;
    std::list<guest> guests; ///< oldest first
    condition guest_left;
    log::repeats refusals; ///< anybody can knock: a port check does so each second
    bool closing = false;

    result<> listen(const address &where);
    void refused(const error &why, const std::string &peer = "");
    tls_session::setup setup(std::string peer) const;
    task<void> make_room();
    static task<void> accept_all(std::shared_ptr<impl> self);
    static task<void> serve(std::shared_ptr<impl> self, std::list<guest>::iterator place);
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
        acceptor.listen(backlog, code);
    }
    if (code) {
        std::error_code ignored;
        acceptor.close(ignored);
        return cannot_listen(where, code);
    }
    tasks.spawn(accept_all(shared_from_this()));
    return {};
}

/// `peer` (its port differs each time) is left out of what makes two refusals the same.
void tls_listener::impl::refused(const error &why, const std::string &peer) {
    const std::string text = why.text();
    std::string kind = text;
    if (const auto at = peer.empty() ? std::string::npos : kind.find(peer); at != std::string::npos) {
        kind.replace(at, peer.size(), peer.substr(0, peer.rfind(':')));
    }
    if (const auto more = refusals.failed(kind, time.now())) {
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

/// Returns when there is a place for one more.
task<void> tls_listener::impl::make_room() {
    while (!closing && guests.size() >= limits::sessions_unauthenticated_max) {
        const time_point patience = guests.front().since + options.handshake_timeout / 5;
        if (time.now() < patience) {
            co_await guest_left.wait_until(time, patience);
            continue;
        }
        if (!guests.front().evicted) {
            guests.front().evicted = true;
            guests.front().connection->interrupt();
        }
        co_await guest_left.wait();
    }
}

task<void> tls_listener::impl::accept_all(std::shared_ptr<impl> self) {
    for (;;) {
        tcp_socket socket(self->home);
        const auto [code] = co_await self->acceptor.async_accept(socket, as_result);
        if (self->closing) {
            co_return;
        }
        if (code) {
            // Mostly out of file descriptors: not a reason to end, nor to spin.
            self->refused(error{code, "accepting a connection"});
            co_await self->guest_left.wait_until(self->time,
                                                 self->time.now() + std::chrono::milliseconds(100));
            continue;
        }
        std::error_code gone;
        const tcp_endpoint peer = socket.remote_endpoint(gone);
        if (gone) {
            continue;
        }
        co_await self->make_room();
        if (self->closing) {
            co_return;
        }
        set_tcp_options(socket);
        auto connection = std::make_shared<tls_connection>(
            std::move(socket), self->setup(to_text(peer)), self->options.pace);
        self->guests.push_back({std::move(connection), self->time.now()});
        self->tasks.spawn(serve(self, std::prev(self->guests.end())));
    }
}

task<void> tls_listener::impl::serve(std::shared_ptr<impl> self, std::list<guest>::iterator place) {
    const auto connection = place->connection;
    {
        const deadline limit(self->home, self->time, place->since + self->options.handshake_timeout,
                             [&c = *connection] { c.interrupt(); });
        auto done = co_await connection->accept_side(limit);
        if (!done && !self->closing) {
            if (limit.expired()) {
                done = fail(errc::timeout, "the TLS handshake with " + connection->address());
            } else if (place->evicted) {
                done =
                    fail(errc::timeout, "too many connections at once, the oldest of them from " +
                                            connection->address());
            }
            self->refused(done.error(), connection->address());
            const bool may_listen = !limit.expired() && !place->evicted;
            if (may_listen) {
                co_await connection->let_go(limit);
            }
        }
        const bool hand_over = done && !self->closing;
        self->guests.erase(place);
        self->guest_left.notify_all();
        if (!hand_over) {
            connection->close();
            co_return;
        }
    }
    self->handler(make_tls_link(connection));
}

task<void> tls_listener::impl::close(std::shared_ptr<impl> self) {
    self->closing = true;
    std::error_code ignored;
    self->acceptor.close(ignored);
    for (const guest &g : self->guests) {
        g.connection->interrupt();
    }
    self->guest_left.notify_all();
    co_await self->tasks.join();
}

tls_listener::tls_listener(executor home, tls_options options, on_link handler)
    : impl_(std::make_shared<impl>(std::move(home), std::move(options), std::move(handler))) {}
tls_listener::~tls_listener() = default;

result<> tls_listener::listen(const address &where) { return impl_->listen(where); }

std::uint16_t tls_listener::port() const {
    std::error_code code;
    const auto endpoint = impl_->acceptor.local_endpoint(code);
    return code ? std::uint16_t{0} : endpoint.port();
}

task<void> tls_listener::close() { return impl::close(impl_); }

} // namespace farshore::transport
