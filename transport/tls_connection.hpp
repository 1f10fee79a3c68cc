#pragma once
// One TCP connection with its TLS session: what a link, a connector and a listener share. Held by
// shared_ptr in every coroutine that works on it, so that the link object may go at any time.
//
// Life: handshake (connect_side or accept_side), then send and receive, then close. After a failure
// of one direction the other may still deliver what has arrived; nothing is retried here.
//
// Single-threaded on the home executor.

#include "transport/deadline.hpp"
#include "transport/envelope.hpp"
#include "transport/fifo_lock.hpp"
#include "transport/tcp.hpp"
#include "transport/tls_session.hpp"

#include <memory>
#include <optional>
#include <string>

namespace farshore::transport {

class tls_connection : public std::enable_shared_from_this<tls_connection> {
  public:
    tls_connection(tcp_socket socket, tls_session::setup setup, pacers pace);

    /// From here on sending is accounted for in the pacers and does not wait for them.
    void never_wait() { waits_ = false; }
    /// The handshakes end when both sides have accepted each other (envelope.hpp). `limit` cancels.
    task<result<>> connect_side(const deadline &limit);
    task<result<>> accept_side(const deadline &limit);
    /// Returns when something has come (or the end), before any of the handshakes. interrupt() ends
    /// it.
    task<result<>> first_byte();
    void limit_first_message(std::size_t bytes_max) { next_bytes_max_ = bytes_max; }
    /// After a failed accept_side: ends the stream and lets the peer read our alert.
    task<void> let_go(const deadline &limit);
    /// Makes the handshake end; for deadlines.
    void interrupt();

    task<result<>> send(message m);
    task<result<message>> receive();
    void close();

    const std::string &address() const { return address_; }
    const std::string &peer_fingerprint() const { return session_.peer_fingerprint(); }
    bool peer_has_name(const std::string &name) const { return session_.peer_has_name(name); }
    const std::string &application() const { return application_; }
    wire_count wire() const { return wire_; }

  private:
    enum class pacing : std::uint8_t { wait, account_only };

    task<result<>> shake_hands(const deadline &limit);
    task<result<>> send_in_turn(message m);
    task<result<>> flush(pacing p);
    task<result<>> write_slice(bytes_view slice);
    task<result<>> fill(std::size_t bytes_max);
    result<std::optional<message>> assemble();
    result<bool> read_all_of(bytes_span target, std::size_t &done);
    std::size_t slice_bytes(std::size_t wanted) const;
    error closed_here() const;
    error socket_failure(std::error_code code) const;
    bool may_not_send() const { return closed_ || send_end_.has_value(); }
    std::unexpected<error> why_not_send() const;
    void end_both(const error &why);

    task<result<>> carry_answers();

    const std::string address_;
    tcp_socket socket_;
    tls_session session_;
    const pacers pace_;
    bool waits_ = true;
    std::string application_;
    wire_count wire_;
    bool established_ = false;
    bool closed_ = false;
    bool interrupted_ = false; ///< during the handshake

    // Sending. Whoever holds the turn may write to the socket.
    fifo_lock turn_;
    bool writing_ = false;          ///< part of a message is out, the rest is not
    std::optional<error> send_end_; ///< why nothing more can be sent
    buffer spare_output_;

    // Receiving. A message half assembled stays here, so that a cancelled receive loses nothing.
    bool receiving_ = false;
    std::optional<error> receive_end_;
    buffer input_;
    std::array<std::byte, envelope_bytes> head_{};
    std::size_t head_done_ = 0;
    std::optional<message> partial_;
    std::size_t next_bytes_max_ = SIZE_MAX; ///< of the next message's payload
    std::size_t payload_done_ = 0;
};

/// The clock that the options name, or the machine's.
time_source &clock_of(const tls_options &options);

/// The link over an established connection.
std::unique_ptr<link> make_tls_link(std::shared_ptr<tls_connection> connection);

} // namespace farshore::transport
