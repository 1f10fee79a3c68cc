#pragma once
// TLS 1.3 as a transformation of bytes: no socket, no clock, no waiting. The owner feeds what came
// from the line (`feed`), carries away what is to go there (`output`), and so knows every byte.
// Also what the fuzzer drives.
//
// Copies: OpenSSL reads records straight from the fed view and writes them straight into the output
// buffer (own BIOs instead of memory BIOs); payload is decrypted into the buffer that the caller
// keeps.
//
// Who is trusted is decided at the verify stage, before the peer gets a byte beyond the handshake.
// The check sees a claimed certificate: that the peer also has its key is proved right after, so it
// must have no effect other than its answer.
//
// Single-threaded. After any error the session is over.

#include "transport/openssl.hpp"
#include "transport/tls_link.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace farshore::transport {

/// One context a connector or listener. TLS 1.3 only, no tickets, no early data, AES-128-GCM first.
/// errc::invalid when identity or CA don't parse.
enum class tls_role : std::uint8_t { connecting, accepting };
result<ssl_ctx_ptr> make_tls_context(const tls_options &options, tls_role role);

class tls_session {
  public:
    struct setup {
        SSL_CTX *context = nullptr; ///< outlives the session
        tls_role role = tls_role::connecting;
        std::string alpn; ///< connecting: the one offered. Accepting: ignored, session and join
        trust_check trust;
        bool has_ca = false;
        std::string address;                ///< of the peer, for the trust check and for messages
        std::uint64_t key_update_bytes = 0; ///< see tls_options
    };
    explicit tls_session(setup s);
    tls_session(const tls_session &) = delete;
    tls_session &operator=(const tls_session &) = delete;
    ~tls_session();

    /// Bytes of the line that the next calls consume. The view must stay valid until `unread` is 0.
    void feed(bytes_view bytes) { input_ = bytes; }
    std::size_t unread() const { return input_.size(); }

    /// True: complete and trusted; false: needs more input. errc::not_trusted, errc::unsupported
    /// (ALPN, version), errc::corrupt. The output may hold an alert even after an error.
    result<bool> handshake();
    /// Bytes decrypted into `out`, 0: needs more input. errc::closed after the peer's farewell.
    result<std::size_t> read(bytes_span out);
    /// Encrypts all of it into the output. Counts towards the renewal of the key.
    result<> write(bytes_view plain);
    /// Puts the farewell into the output; nothing may be written after it.
    void farewell();

    /// Bytes for the line, at the front of a buffer that may be longer.
    struct encrypted {
        buffer storage;
        std::size_t size = 0;
        bytes_view view() const { return storage.view().first(size); }
    };
    bool has_output() const { return output_.size > 0; }
    std::size_t output_bytes() const { return output_.size; }
    /// Hands over what is to go to the line, in order, in exchange for a buffer to use next (may be
    /// empty).
    encrypted take_output(buffer reuse);

    const std::string &peer_fingerprint() const { return peer_fingerprint_; }
    bool peer_has_name(const std::string &name) const;
    std::string agreed_application() const;
    std::uint64_t key_updates() const { return key_updates_; }

  private:
    friend struct tls_callbacks;
    bool accept_certificate(X509_STORE_CTX *store);
    std::unexpected<error> failure_of(int code, const char *doing);

    setup setup_;
    bytes_view input_;
    encrypted output_;
    std::uint64_t written_under_key_ = 0;
    std::uint64_t key_updates_ = 0;
    std::uint64_t peer_updates_ = 0; ///< KeyUpdate messages that came
    std::uint64_t read_bytes_ = 0;
    std::string peer_fingerprint_;
    std::optional<error> refusal_; ///< why accept_certificate said no
    ssl_ptr ssl_;                  ///< last: its BIOs point here
};

} // namespace farshore::transport
