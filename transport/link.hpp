#pragma once
// An authenticated, ordered, reliable channel of messages between the two sites. Interface, because
// the simulation replaces TLS over TCP by memory with faults (memory_link.hpp).
//
// Envelope on the wire: length (le32, payload bytes), type (le16), reserved (le16, zero), payload.
// A length beyond limits::message_bytes_max closes the link before anything is allocated.
//
// Threads: one executor owns a link; all calls on it.

#include "replicator/base/async.hpp"
#include "replicator/base/bytes.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace farshore::transport {

struct message {
    std::uint16_t type = 0; ///< format/messages.hpp
    buffer payload;
};

/// Bytes that this link's socket carried, TLS included.
struct wire_count {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
};

class link {
  public:
    virtual ~link() = default;

    /// Returns when the message is handed to the operating system (it may still be lost with the
    /// connection). Concurrent sends go out whole, in the order of the calls. Waits for the pacers.
    virtual task<result<>> send(message m) = 0;
    /// The next message. errc::closed: the peer closed in order or close() was called; other errors
    /// are the socket's. One receive at a time.
    virtual task<result<message>> receive() = 0;
    /// Ends the connection at once: pending calls return errc::closed. Idempotent.
    virtual void close() = 0;

    virtual const std::string &peer_address() const = 0; ///< "host:port", for messages
    virtual const std::string &
    peer_fingerprint() const = 0; ///< 64 hex digits, SHA-256 of the certificate
    /// Whether the peer's certificate is for this DNS name or IP address.
    virtual bool peer_has_name(const std::string &) const { return false; }
    virtual const std::string &application() const = 0; ///< the ALPN name agreed
    virtual wire_count wire() const = 0;
};

/// ALPN names: an ordinary session, and the exchange of a one-time token for trust.
inline constexpr const char *alpn_session = "farshore/1";
inline constexpr const char *alpn_join = "farshore-join/1";

/// Makes links to one peer. Implementations: tls_connector, memory network.
class connector {
  public:
    virtual ~connector() = default;
    virtual task<result<std::unique_ptr<link>>> connect(duration timeout) = 0;
};

} // namespace farshore::transport
