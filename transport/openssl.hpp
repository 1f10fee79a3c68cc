#pragma once
// Owners of OpenSSL's objects, and its error queue as our errors. Private to transport/.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

namespace farshore::transport {

template <auto Free>
struct openssl_deleter {
    template <class T>
    void operator()(T *p) const {
        Free(p);
    }
};
using bio_ptr = std::unique_ptr<BIO, openssl_deleter<BIO_free_all>>;
using key_ptr = std::unique_ptr<EVP_PKEY, openssl_deleter<EVP_PKEY_free>>;
using x509_ptr = std::unique_ptr<X509, openssl_deleter<X509_free>>;
using crl_ptr = std::unique_ptr<X509_CRL, openssl_deleter<X509_CRL_free>>;
using ssl_ctx_ptr = std::unique_ptr<SSL_CTX, openssl_deleter<SSL_CTX_free>>;
using ssl_ptr = std::unique_ptr<SSL, openssl_deleter<SSL_free>>;

/// Empties the thread's error queue and returns its last entry in words; empty when there was none.
std::string take_openssl_error();
void drop_openssl_errors();
/// errc::invalid with `what` and the cause that OpenSSL gives.
std::unexpected<error> openssl_failure(const std::string &what);

/// What was written to a memory BIO.
std::string text_of(BIO *bio);
/// All certificates of a PEM text, at least one and at most 64; errc::invalid.
result<std::vector<x509_ptr>> read_certificates(const std::string &pem);
/// All lists of revoked certificates of a PEM text, at least one and at most 64; errc::invalid.
result<std::vector<crl_ptr>> read_revocations(const std::string &pem);
/// errc::invalid. A key with a passphrase is refused, nobody is asked for it.
result<key_ptr> read_private_key(const std::string &pem);

/// SHA-256 of the certificate's DER form, 64 lower-case hex digits.
result<std::string> fingerprint_of(X509 *certificate);
/// Whether the certificate is for this DNS name (by its subjectAltName, else its CN) or IP address.
bool has_name(X509 *certificate, const std::string &name);
/// All of them, for messages: cleaned, at most a few hundred bytes.
std::string names_of(X509 *certificate);

} // namespace farshore::transport
