#include "transport/tls_session.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"

#include <openssl/err.h>

#include <algorithm>
#include <array>

namespace farshore::transport {
namespace {

/// Output buffers begin with this and grow by doubling: a session that sends only small messages
/// stays small.
constexpr std::size_t output_bytes_min = 4096;
/// A peer may renew its key so often, and once a MiB that it sends besides. Each time costs us a
/// derivation of keys and, if it wants, an answer, for 26 of its bytes.
constexpr std::uint64_t peer_updates_free = 32;

/// Alerts by which the peer says that it does not accept our certificate.
bool is_refusal_of_certificate(int reason) {
    switch (reason - SSL_AD_REASON_OFFSET) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

bool is_disagreement(int reason) {
    switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL:
    case SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION:
        return true;
    default:
        return false;
    }
}

} // namespace

/// What OpenSSL calls back. The session is the BIOs' data and the SSL's app data.
struct tls_callbacks {
    static int read(BIO *bio, char *out, int size) {
        auto &session = *static_cast<tls_session *>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        if (session.input_.empty()) {
            BIO_set_retry_read(bio);
            return -1;
        }
        const std::size_t taken = std::min(session.input_.size(), static_cast<std::size_t>(size));
        std::memcpy(out, session.input_.data(), taken);
        session.input_ = session.input_.subspan(taken);
        return static_cast<int>(taken);
    }

    static int write(BIO *bio, const char *data, int size) {
        auto &session = *static_cast<tls_session *>(BIO_get_data(bio));
        const auto count = static_cast<std::size_t>(size);
        tls_session::encrypted &out = session.output_;
        const std::size_t needed = out.size + count;
        if (needed > out.storage.size()) {
            buffer larger(std::max({needed, 2 * out.storage.size(), output_bytes_min}));
            if (out.size > 0) {
                std::memcpy(larger.data(), out.storage.data(), out.size);
            }
            out.storage = std::move(larger);
        }
        std::memcpy(out.storage.data() + out.size, data, count);
        out.size = needed;
        return size;
    }

    static long control(BIO *, int command, long, void *) {
        return command == BIO_CTRL_FLUSH ? 1 : 0;
    }

    static int created(BIO *bio) {
        BIO_set_init(bio, 1);
        return 1;
    }

    static BIO *make_bio(tls_session &session) {
        static BIO_METHOD *const method = [] {
            BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "farshore");
            REPL_ASSERT(m != nullptr);
            BIO_meth_set_read(m, read);
            BIO_meth_set_write(m, write);
            BIO_meth_set_ctrl(m, control);
            BIO_meth_set_create(m, created);
            return m;
        }();
        BIO *bio = BIO_new(method);
        REPL_ASSERT(bio != nullptr);
        BIO_set_data(bio, &session);
        return bio;
    }

    /// Instead of OpenSSL's own verification: a self-signed certificate is fine if it is pinned.
    static int verify(X509_STORE_CTX *store, void *) {
        auto *ssl = static_cast<SSL *>(
            X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
        auto &session = *static_cast<tls_session *>(SSL_get_app_data(ssl));
        if (session.accept_certificate(store)) {
            return 1;
        }
        if (X509_STORE_CTX_get_error(store) == X509_V_OK) {
            X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED); // alert bad_certificate
        }
        return 0;
    }

    static void message(int sent, int, int type, const void *data, std::size_t size, SSL *,
                        void *session) {
        if (sent == 0 && type == SSL3_RT_HANDSHAKE && size > 0 &&
            *static_cast<const unsigned char *>(data) == SSL3_MT_KEY_UPDATE) {
            ++static_cast<tls_session *>(session)->peer_updates_;
        }
    }

    static int select_alpn(SSL *, const unsigned char **out, unsigned char *out_size,
                           const unsigned char *offered, unsigned int offered_size, void *) {
        for (unsigned int at = 0; at < offered_size;) {
            const unsigned int size = offered[at];
            if (size > offered_size - at - 1) {
                break;
            }
            const std::string_view name = as_text(std::as_bytes(std::span(offered + at + 1, size)));
            if (name == alpn_session || name == alpn_join) {
                *out = offered + at + 1;
                *out_size = static_cast<unsigned char>(size);
                return SSL_TLSEXT_ERR_OK;
            }
            at += 1 + size;
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
};

namespace {
result<> use_ca(SSL_CTX *context, const std::string &pem) {
    FS_TRY(authorities, read_certificates(pem));
    for (const x509_ptr &ca : authorities) {
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca.get()) != 1 ||
            SSL_CTX_add_client_CA(context, ca.get()) != 1) {
            return openssl_failure("can't use the certificate of the CA");
        }
    }
    return {};
}
/// Each CA of a chain needs a list that is in its time: one that is missing refuses everybody,
/// which is noticed, while a certificate that was revoked and is let in is not.
result<> use_revocations(SSL_CTX *context, const std::string &pem) {
    FS_TRY(lists, read_revocations(pem));
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    for (const crl_ptr &list : lists) {
        if (X509_STORE_add_crl(store, list.get()) != 1) {
            return openssl_failure("can't use the list of revoked certificates");
        }
    }
    if (X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1) {
        return openssl_failure("can't use the list of revoked certificates");
    }
    return {};
}
} // namespace

result<ssl_ctx_ptr> make_tls_context(const tls_options &options, tls_role role) {
    FS_TRY(chain, read_certificates(options.self.certificate_pem));
    FS_TRY(key, read_private_key(options.self.key_pem));
    ssl_ctx_ptr context(
        SSL_CTX_new(role == tls_role::accepting ? TLS_server_method() : TLS_client_method()));
    SSL_CTX *c = context.get();
    if (c == nullptr || SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                    "TLS_CHACHA20_POLY1305_SHA256") != 1 ||
        SSL_CTX_use_certificate(c, chain.front().get()) != 1 ||
        SSL_CTX_use_PrivateKey(c, key.get()) != 1 || SSL_CTX_check_private_key(c) != 1 ||
        SSL_CTX_set_num_tickets(c, 0) != 1) {
        return openssl_failure("can't set up TLS with this identity");
    }
    SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_early_data(c, 0);
    SSL_CTX_set_max_cert_list(c, 16 * 1024);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_cert_verify_callback(c, tls_callbacks::verify, nullptr);
    if (role == tls_role::accepting) {
        SSL_CTX_set_alpn_select_cb(c, tls_callbacks::select_alpn, nullptr);
    }
    for (std::size_t i = 1; i < chain.size(); ++i) {
        if (SSL_CTX_add1_chain_cert(c, chain[i].get()) != 1) {
            return openssl_failure("can't use the chain of certificates");
        }
    }
    if (!options.ca_pem.empty()) {
        FS_CHECK(use_ca(c, options.ca_pem));
    }
    if (!options.crl_pem.empty()) {
        FS_CHECK(use_revocations(c, options.crl_pem));
    }
    return context;
}

tls_session::tls_session(setup s) : setup_(std::move(s)), ssl_(SSL_new(setup_.context)) {
    SSL *ssl = ssl_.get();
    REPL_ASSERT(ssl != nullptr);
    SSL_set_app_data(ssl, this);
    SSL_set_msg_callback(ssl, tls_callbacks::message);
    SSL_set_msg_callback_arg(ssl, this);
    BIO *bio = tls_callbacks::make_bio(*this);
    SSL_set_bio(ssl, bio, bio);
    if (setup_.role == tls_role::accepting) {
        SSL_set_accept_state(ssl);
        return;
    }
    SSL_set_connect_state(ssl);
    REPL_ASSERT(!setup_.alpn.empty() && setup_.alpn.size() < 256);
    std::string offer(1, static_cast<char>(setup_.alpn.size()));
    offer += setup_.alpn;
    REPL_ASSERT(SSL_set_alpn_protos(ssl, as_unsigned(as_bytes(offer)),
                                    static_cast<unsigned int>(offer.size())) == 0);
}

tls_session::~tls_session() = default;

std::string tls_session::agreed_application() const {
    const unsigned char *name = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    return size == 0 ? std::string() : std::string(as_text(std::as_bytes(std::span(name, size))));
}

bool tls_session::accept_certificate(X509_STORE_CTX *store) {
    auto fingerprint = fingerprint_of(X509_STORE_CTX_get0_cert(store));
    if (!fingerprint) {
        refusal_ = fingerprint.error();
        return false;
    }
    peer_fingerprint_ = *fingerprint;
    const std::string alpn = agreed_application();
    if (alpn.empty()) {
        refusal_ = error{errc::unsupported, setup_.address + " does not speak farshore's protocol"};
        return false;
    }
    if (setup_.has_ca && X509_verify_cert(store) != 1) {
        const char *why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(store));
        refusal_ =
            error{errc::not_trusted, "the certificate of " + setup_.address + " with fingerprint " +
                                         peer_fingerprint_ +
                                         " is not accepted under the site's CA (" + why + ")"};
        return false;
    }
    X509 *certificate = X509_STORE_CTX_get0_cert(store);
    const peer_claim claim{
        peer_fingerprint_,
        alpn,
        setup_.address,
        setup_.has_ca,
        [certificate](const std::string &name) { return has_name(certificate, name); },
        names_of(certificate)};
    const result<> trusted =
        setup_.trust ? setup_.trust(claim) : fail(errc::not_trusted, "nobody here trusts");
    if (!trusted) {
        refusal_ =
            error{errc::not_trusted, "the certificate of " + setup_.address + " has fingerprint " +
                                         peer_fingerprint_ + ", which " + trusted.error().context};
    }
    return trusted.has_value();
}

bool tls_session::peer_has_name(const std::string &name) const {
    return has_name(SSL_get0_peer_certificate(ssl_.get()), name);
}

std::unexpected<error> tls_session::failure_of(int code, const char *doing) {
    const unsigned long entry = ERR_peek_last_error();
    const int reason = ERR_GET_REASON(entry);
    const std::string cause = take_openssl_error();
    if (refusal_) {
        return std::unexpected(*refusal_);
    }
    if (code == SSL_ERROR_ZERO_RETURN) {
        return fail(errc::closed, setup_.address + " closed the connection");
    }
    if (is_refusal_of_certificate(reason)) {
        return fail(errc::not_trusted, setup_.address + " refused our certificate (" + cause + ")");
    }
    if (is_disagreement(reason)) {
        return fail(errc::unsupported, setup_.address +
                                           " does not speak this version of "
                                           "farshore's protocol (" +
                                           cause + ")");
    }
    return fail(errc::corrupt,
                std::string(doing) + setup_.address + (cause.empty() ? "" : " (" + cause + ")"));
}

result<bool> tls_session::handshake() {
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_.get());
    if (done == 1) {
        if (agreed_application().empty() || peer_fingerprint_.empty()) {
            return fail(errc::unsupported, setup_.address + " does not speak farshore's protocol");
        }
        return true;
    }
    const int code = SSL_get_error(ssl_.get(), done);
    if (code == SSL_ERROR_WANT_READ) {
        return false;
    }
    return failure_of(code, "the TLS handshake with ");
}

result<std::size_t> tls_session::read(bytes_span out) {
    ERR_clear_error();
    std::size_t count = 0;
    const int done = SSL_read_ex(ssl_.get(), out.data(), out.size(), &count);
    if (peer_updates_ > peer_updates_free + read_bytes_ / limits::MiB) {
        return fail(errc::limit, setup_.address + " renews its keys without end");
    }
    if (done == 1) {
        read_bytes_ += count;
        return count;
    }
    const int code = SSL_get_error(ssl_.get(), done);
    if (code == SSL_ERROR_WANT_READ) {
        return std::size_t{0};
    }
    return failure_of(code, "what came from ");
}

result<> tls_session::write(bytes_view plain) {
    if (plain.empty()) {
        return {};
    }
    ERR_clear_error();
    if (written_under_key_ >= setup_.key_update_bytes) {
        written_under_key_ = 0;
        ++key_updates_;
        if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
            return failure_of(SSL_ERROR_SSL, "the renewal of the key for ");
        }
    }
    std::size_t count = 0;
    const int done = SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &count);
    if (done != 1) {
        return failure_of(SSL_get_error(ssl_.get(), done), "encrypting for ");
    }
    REPL_ASSERT(count == plain.size()); // the output takes everything
    written_under_key_ += count;
    return {};
}

void tls_session::farewell() {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
}

tls_session::encrypted tls_session::take_output(buffer reuse) {
    return std::exchange(output_, encrypted{std::move(reuse), 0});
}

} // namespace farshore::transport
