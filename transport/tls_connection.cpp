// The handshake, and bytes between socket and TLS session.

#include "transport/tls_connection.hpp"

#include "replicator/base/limits.hpp"

#include <algorithm>

namespace farshore::transport {
namespace {

/// One read of the socket. Pages of it that no read has reached take no memory.
constexpr std::size_t input_bytes = 128 * 1024;
/// One read during the handshake, whose sum is bounded by limits::handshake_bytes_max.
constexpr std::size_t handshake_read_bytes = 8 * 1024;
/// What is let go to the socket at once when there is a rate: a change of rate takes hold after it.
constexpr std::size_t slice_bytes_max = 64 * 1024;
constexpr std::size_t slice_bytes_min = 2 * 1024;
constexpr std::uint64_t slices_per_second = 20;

} // namespace

time_source &clock_of(const tls_options &options) {
    static system_clock machine;
    return options.time != nullptr ? *options.time : machine;
}

tls_connection::tls_connection(tcp_socket socket, tls_session::setup setup, pacers pace)
    : address_(setup.address), socket_(std::move(socket)), session_(std::move(setup)),
      pace_(std::move(pace)), input_(input_bytes) {}

error tls_connection::closed_here() const {
    return error{errc::closed, "the connection to " + address_};
}

std::unexpected<error> tls_connection::why_not_send() const {
    return std::unexpected(closed_ || !send_end_ ? closed_here() : *send_end_);
}

error tls_connection::socket_failure(std::error_code code) const {
    if (closed_) {
        return closed_here();
    }
    if (code == asio::error::operation_aborted) {
        return error{errc::cancelled, "the connection to " + address_};
    }
    if (code == asio::error::eof) {
        return error{std::make_error_code(std::errc::connection_reset),
                     address_ + " ended the connection without a farewell"};
    }
    return error{std::error_code(code.value(), std::generic_category()),
                 "the connection to " + address_};
}

std::size_t tls_connection::slice_bytes(std::size_t wanted) const {
    std::size_t slice = wanted;
    for (const auto &p : pace_) {
        if (const auto rate = p->rate()) {
            slice = std::min(slice, std::clamp<std::size_t>(*rate / slices_per_second,
                                                            slice_bytes_min, slice_bytes_max));
        }
    }
    return slice;
}

task<result<>> tls_connection::write_slice(bytes_view slice) {
    while (!slice.empty()) {
        if (may_not_send()) {
            co_return why_not_send();
        }
        const auto [code, count] =
            co_await socket_.async_write_some(asio::buffer(slice.data(), slice.size()), as_result);
        wire_.sent += count;
        slice = slice.subspan(count);
        if (closed_ || code) {
            co_return std::unexpected(socket_failure(code));
        }
    }
    co_return result<>();
}

/// Carries all output of the session to the socket. The caller holds the turn.
task<result<>> tls_connection::flush(pacing p) {
    while (session_.has_output()) {
        auto out = session_.take_output(std::move(spare_output_));
        bytes_view rest = out.view();
        while (!rest.empty()) {
            const bytes_view slice = rest.first(slice_bytes(rest.size()));
            for (const auto &gate : pace_) {
                if (p == pacing::account_only || !waits_) {
                    gate->note(slice.size());
                } else if (gate->rate() && !co_await gate->acquire(
                                               slice.size(), [this] { return may_not_send(); },
                                               pace_.front().get())) {
                    co_return why_not_send();
                }
            }
            FS_CO_CHECK(co_await write_slice(slice));
            rest = rest.subspan(slice.size());
        }
        spare_output_ = std::move(out.storage);
    }
    co_return result<>();
}

/// One read from the socket, fed to the session, which has used up what it had.
task<result<>> tls_connection::fill(std::size_t bytes_max) {
    REPL_ASSERT(session_.unread() == 0);
    if (interrupted_) {
        co_return fail(errc::cancelled, "the connection to " + address_);
    }
    const auto [code, count] = co_await socket_.async_read_some(
        asio::buffer(input_.data(), std::min(bytes_max, input_.size())), as_result);
    wire_.received += count;
    if (closed_ || code) {
        co_return std::unexpected(socket_failure(code));
    }
    for (const auto &gate : pace_) {
        gate->note(count);
    }
    session_.feed(input_.view().first(count));
    co_return result<>();
}

void tls_connection::interrupt() {
    interrupted_ = !established_; // it may come while no operation is pending
    std::error_code ignored;
    socket_.cancel(ignored);
}

task<result<>> tls_connection::shake_hands(const deadline &limit) {
    for (;;) {
        const auto done = session_.handshake();
        // Also after a failure: the peer gets the alert that says why.
        const auto flushed = co_await flush(pacing::account_only);
        FS_CO_CHECK(done);
        FS_CO_CHECK(flushed);
        if (*done) {
            application_ = session_.agreed_application();
            co_return result<>();
        }
        if (wire_.received >= limits::handshake_bytes_max) {
            co_return fail(errc::limit, "the TLS handshake with " + address_);
        }
        if (limit.expired()) {
            co_return fail(errc::timeout, "the TLS handshake with " + address_);
        }
        FS_CO_CHECK(co_await fill(handshake_read_bytes));
    }
}

task<result<>> tls_connection::first_byte() {
    if (interrupted_) {
        co_return fail(errc::cancelled, "the connection to " + address_);
    }
    const auto [code] = co_await socket_.async_wait(tcp_socket::wait_read, as_result);
    if (closed_ || code || interrupted_) {
        co_return std::unexpected(
            socket_failure(code ? code : std::error_code(asio::error::operation_aborted)));
    }
    co_return result<>();
}

task<result<>> tls_connection::accept_side(const deadline &limit) {
    FS_CO_CHECK(co_await shake_hands(limit));
    const envelope ready{.length = 0, .type = transport_ready, .reserved = 0};
    FS_CO_CHECK(session_.write(struct_bytes(ready)));
    FS_CO_CHECK(co_await flush(pacing::account_only));
    established_ = true;
    interrupted_ = false;
    co_return result<>();
}

task<result<>> tls_connection::connect_side(const deadline &limit) {
    FS_CO_CHECK(co_await shake_hands(limit));
    for (;;) {
        FS_CO_TRY(complete, read_all_of(head_, head_done_));
        if (complete) {
            break;
        }
        if (limit.expired()) {
            co_return fail(errc::timeout, "the TLS handshake with " + address_);
        }
        FS_CO_CHECK(co_await fill(handshake_read_bytes));
    }
    head_done_ = 0;
    FS_CO_TRY(ready, parse_envelope(head_));
    if (ready.type != transport_ready || ready.length != 0) {
        co_return fail(errc::unsupported,
                       address_ + " does not speak this version of farshore's protocol");
    }
    established_ = true;
    interrupted_ = false;
    co_return result<>();
}

task<void> tls_connection::let_go(const deadline &limit) {
    std::error_code ignored;
    socket_.shutdown(tcp_socket::shutdown_send, ignored);
    std::size_t dropped = 0;
    while (!limit.expired() && !interrupted_ && dropped < limits::handshake_bytes_max) {
        const auto [code, count] =
            co_await socket_.async_read_some(asio::buffer(input_.data(), input_.size()), as_result);
        if (code) {
            break;
        }
        dropped += count;
    }
    socket_.close(ignored);
}

void tls_connection::close() {
    if (closed_) {
        return;
    }
    closed_ = true;
    for (const auto &gate : pace_) {
        gate->wake();
    }
    std::error_code code;
    socket_.cancel(code);
    if (!established_ || send_end_ || receive_end_) {
        socket_.close(code);
        return;
    }
    if (!writing_) {
        // Best effort: 24 bytes that fit the socket's buffer, or the peer sees no farewell.
        session_.farewell();
        const auto out = session_.take_output({});
        socket_.non_blocking(true, code);
        const std::size_t sent =
            socket_.write_some(asio::buffer(out.storage.data(), out.size), code);
        wire_.sent += sent;
    }
    close_gently(std::move(socket_));
}

} // namespace farshore::transport
