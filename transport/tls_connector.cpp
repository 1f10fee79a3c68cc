#include "transport/tls_connection.hpp"

namespace farshore::transport {
struct tls_connector::impl {
    impl(executor h, address p, std::string a, tls_options o)
        : home(std::move(h)), peer(std::move(p)), alpn(std::move(a)), options(std::move(o)),
          time(clock_of(options)), context(make_tls_context(options, tls_role::connecting)) {}

    const executor home;
    const address peer;
    const std::string alpn;
    const tls_options options;
    time_source &time;
    const result<ssl_ctx_ptr> context; ///< a failure is reported by each connect

    tls_session::setup setup() const {
        return {.context = context->get(),
                .role = tls_role::connecting,
                .alpn = alpn,
                .trust = options.trust,
                .has_ca = !options.ca_pem.empty(),
                .address = to_text(peer),
                .key_update_bytes = options.key_update_bytes};
    }

    static task<result<std::unique_ptr<link>>> connect(std::shared_ptr<impl> self,
                                                       duration timeout) {
        if (!self->context) {
            co_return std::unexpected(self->context.error());
        }
        const time_point until = self->time.now() + timeout;
        FS_CO_TRY(socket, co_await connect_tcp(self->home, self->time, self->peer, until));
        auto connection =
            std::make_shared<tls_connection>(std::move(socket), self->setup(), self->options.pace);
        if (!self->options.pace_waits) {
            connection->never_wait();
        }
        const deadline limit(self->home, self->time, until, [&c = *connection] { c.interrupt(); });
        const auto done = co_await connection->connect_side(limit);
        if (done) {
            co_return make_tls_link(std::move(connection));
        }
        connection->close();
        if (limit.expired()) {
            co_return fail(errc::timeout, "the TLS handshake with " + to_text(self->peer));
        }
        co_return std::unexpected(done.error());
    }
};

tls_connector::tls_connector(executor home, address peer, std::string alpn, tls_options options)
    : impl_(std::make_shared<impl>(std::move(home), std::move(peer), std::move(alpn),
                                   std::move(options))) {}
tls_connector::~tls_connector() = default;

task<result<std::unique_ptr<link>>> tls_connector::connect(duration timeout) {
    return impl::connect(impl_, timeout);
}

} // namespace farshore::transport
