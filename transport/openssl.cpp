#include "transport/openssl.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>

namespace farshore::transport {
namespace {

bio_ptr reader_of(const std::string &pem) {
    return bio_ptr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

/// Stands in for OpenSSL's question on the terminal.
int no_passphrase(char *, int, int, void *) { return 0; }

constexpr std::size_t pem_bytes_max = 1024 * 1024;
constexpr std::size_t revocation_bytes_max = 4 * 1024 * 1024;
constexpr std::size_t certificates_max = 64;

} // namespace

std::string take_openssl_error() {
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    if (code == 0) {
        return {};
    }
    const char *reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : "OpenSSL error " + std::to_string(code);
}

void drop_openssl_errors() { ERR_clear_error(); }

std::unexpected<error> openssl_failure(const std::string &what) {
    const std::string cause = take_openssl_error();
    return fail(errc::invalid, cause.empty() ? what : what + " (" + cause + ")");
}

std::string text_of(BIO *bio) {
    char *data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

result<std::vector<x509_ptr>> read_certificates(const std::string &pem) {
    if (pem.size() > pem_bytes_max) {
        return fail(errc::limit, "a certificate of " + std::to_string(pem.size()) + " bytes");
    }
    const bio_ptr in = reader_of(pem);
    std::vector<x509_ptr> certificates;
    while (certificates.size() < certificates_max) {
        x509_ptr next(PEM_read_bio_X509(in.get(), nullptr, no_passphrase, nullptr));
        if (!next) {
            break;
        }
        certificates.push_back(std::move(next));
    }
    if (certificates.empty()) {
        return openssl_failure("not a certificate in PEM form");
    }
    drop_openssl_errors(); // the end of the text counts as one
    return certificates;
}

result<std::vector<crl_ptr>> read_revocations(const std::string &pem) {
    if (pem.size() > revocation_bytes_max) {
        return fail(errc::limit,
                    "a list of revoked certificates of " + std::to_string(pem.size()) + " bytes");
    }
    const bio_ptr in = reader_of(pem);
    std::vector<crl_ptr> lists;
    while (lists.size() < certificates_max) {
        crl_ptr next(PEM_read_bio_X509_CRL(in.get(), nullptr, no_passphrase, nullptr));
        if (!next) {
            break;
        }
        lists.push_back(std::move(next));
    }
    if (lists.empty()) {
        return openssl_failure("not a list of revoked certificates in PEM form");
    }
    drop_openssl_errors();
    return lists;
}

result<key_ptr> read_private_key(const std::string &pem) {
    if (pem.size() > pem_bytes_max) {
        return fail(errc::limit, "a private key of " + std::to_string(pem.size()) + " bytes");
    }
    const bio_ptr in = reader_of(pem);
    key_ptr key(PEM_read_bio_PrivateKey(in.get(), nullptr, no_passphrase, nullptr));
    if (!key) {
        return openssl_failure("not a private key in PEM form");
    }
    return key;
}

} // namespace farshore::transport
