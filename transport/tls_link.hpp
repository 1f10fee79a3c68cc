#pragma once
// link over TLS 1.3 over TCP. Both sides show certificates; who is trusted is decided by a callback
// on the fingerprint (or by a CA file when a site has its own). No early data, no session tickets.
// OpenSSL works on memory BIOs, so that bytes on the socket can be counted and paced exactly. TCP:
// TCP_NODELAY, keep-alive and user timeout, TCP_NOTSENT_LOWAT 128 KiB (the queue stays in our
// hands), TCP_CONGESTION "bbr" where offered (said aloud once where not).
//
// A peer counts as dead when it acknowledges nothing for 15 s (TCP_USER_TIMEOUT). That includes one
// that is alive but reads nothing while there is more to send: whoever holds a link keeps
// receiving, and bounds what is in flight by its own window.
//
// Buffers: at most about 0.5 MiB a link, less while it has carried only small messages.

#include "transport/identity.hpp"
#include "transport/link.hpp"
#include "transport/pacer.hpp"

#include <functional>
#include <memory>
#include <string>

namespace farshore::transport {

/// Who a peer says it is, in the handshake.
struct peer_claim {
    std::string fingerprint;
    std::string alpn;
    std::string address;
    /// Signed by the CA of the options, in its time, not on their list of revoked ones. Whoever is
    /// not never gets as far as the check; without a CA: false.
    bool signed_by_ca = false;
    /// Whether the certificate is for this DNS name (wildcards count) or IP address.
    std::function<bool(const std::string &name)> has_name;
    std::string names; ///< that it is for, in words
};

/// Decides on a peer during the handshake, before it gets a byte of ours beyond the handshake. The
/// certificate is only claimed at that moment (that the peer has its key is proved right after), so
/// the check must have no effect but its answer. A refusal's context goes on the sentence "the
/// certificate of ADDRESS has fingerprint F, which ...". On the executor of the link.
using trust_check = std::function<result<>(const peer_claim &peer)>;

struct tls_options {
    identity self;
    std::string ca_pem;  ///< non-empty: peers must be signed by this CA
    std::string crl_pem; ///< non-empty: lists of revoked certificates, one for each CA of a chain
    trust_check trust;
    /// Accepting: whether a paired peer last came from this source (guest_policy.hpp); may be
    /// empty.
    std::function<bool(const std::string &source)> known;
    bool pace_waits =
        true;    ///< false: bytes are accounted for in `pace` but do not wait (control traffic)
    pacers pace; ///< sending waits for all of them
    time_source *time = nullptr; ///< absent: the machine's clock; else it must outlive all links
    duration handshake_timeout = std::chrono::seconds(10);
    /// Accepting: of the first message's payload. Who has yet to say what it wants may not say
    /// much.
    std::size_t first_message_bytes_max = SIZE_MAX;
    /// Application bytes under one key; then the sending key is renewed. AES-GCM allows about
    /// 380 GiB in records of 16 KiB (RFC 8446, 5.5). Tests make it small.
    std::uint64_t key_update_bytes = 64ULL << 30;
};

/// "host:port" or "[v6]:port".
struct address {
    std::string host;
    std::uint16_t port = 0;
};
result<address> parse_address(const std::string &text);

class tls_connector final : public connector {
  public:
    tls_connector(executor home, address peer, std::string alpn, tls_options options);
    ~tls_connector() override;
    /// Returns when each side has accepted the other. Errors name the address and the cause: the
    /// system's (ECONNREFUSED, ...), errc::not_found for the name, errc::timeout, errc::not_trusted
    /// with the fingerprint seen (either side may be the one that refuses), errc::unsupported when
    /// the peer speaks something else, errc::invalid for an own identity that can't be used.
    task<result<std::unique_ptr<link>>> connect(duration timeout) override;

  private:
    struct impl;
    std::shared_ptr<impl> impl_;
};

/// Listens and hands over links whose TLS handshake is complete and trusted. Unauthenticated
/// connections are bounded in number, time and bytes (limits::sessions_unauthenticated_max,
/// handshake_timeout, limits::handshake_bytes_max); each refusal is logged once with address and
/// fingerprint (rate-limited).
class tls_listener {
  public:
    using on_link = std::function<void(std::unique_ptr<link>)>;
    /// Accepts ALPN session and join. `handler` runs on `home`.
    tls_listener(executor home, tls_options options, on_link handler);
    ~tls_listener(); ///< close() must have completed
    /// errc::busy when the address is in use. Port 0: the system chooses, see port().
    result<> listen(const address &where);
    /// From the next connection on; errc::invalid leaves what was.
    result<> use(const identity &self, const std::string &ca_pem, const std::string &crl_pem);
    std::uint16_t port() const;
    task<void> close();

  private:
    struct impl;
    std::shared_ptr<impl> impl_;
};

} // namespace farshore::transport
