#include "transport/identity.hpp"

#include "replicator/base/clean_text.hpp"
#include "transport/openssl.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <optional>

namespace farshore::transport {
namespace {

constexpr long day_seconds = 24 * 3600;
constexpr long valid_seconds = 20L * 365 * day_seconds;

result<std::string> pem_of(X509 *certificate) {
    const bio_ptr out(BIO_new(BIO_s_mem()));
    if (!out || PEM_write_bio_X509(out.get(), certificate) != 1) {
        return openssl_failure("can't write a certificate as PEM");
    }
    return text_of(out.get());
}

result<std::string> pem_of(EVP_PKEY *key) {
    const bio_ptr out(BIO_new(BIO_s_mem()));
    if (!out ||
        PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
        return openssl_failure("can't write a private key as PEM");
    }
    return text_of(out.get());
}

bool add_extension(X509 *certificate, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    if (extension == nullptr) {
        return false;
    }
    const bool added = X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

bool set_random_serial(X509 *certificate) {
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1) {
        return false;
    }
    bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40); // positive, full length
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, nullptr);
    const bool set = number != nullptr &&
                     BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
    BN_free(number);
    return set;
}

/// Everything but the signature.
bool fill(X509 *certificate, EVP_PKEY *key, const std::string &common_name) {
    X509_NAME *name = X509_get_subject_name(certificate);
    const std::string cut_name = common_name.substr(0, 64); // ub-common-name of RFC 5280
    return X509_set_version(certificate, 2) == 1 && set_random_serial(certificate) &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -day_seconds) != nullptr &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), valid_seconds) != nullptr &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, as_unsigned(as_bytes(cut_name)),
                                      static_cast<int>(cut_name.size()), -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
           add_extension(certificate, NID_ext_key_usage, "serverAuth,clientAuth");
}

} // namespace

result<std::string> fingerprint_of(X509 *certificate) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (certificate == nullptr || X509_digest(certificate, EVP_sha256(), digest, &length) != 1) {
        return openssl_failure("can't take the fingerprint of a certificate");
    }
    return to_hex(std::as_bytes(std::span(digest, length)));
}

bool has_name(X509 *certificate, const std::string &name) {
    if (certificate == nullptr || name.empty()) {
        return false;
    }
    if (X509_check_ip_asc(certificate, name.c_str(), 0) == 1) {
        return true;
    }
    const bool found = X509_check_host(certificate, name.data(), name.size(),
                                       X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1;
    drop_openssl_errors();
    return found;
}

std::string names_of(X509 *certificate) {
    constexpr std::size_t names_bytes_max = 300;
    const bio_ptr out(BIO_new(BIO_s_mem()));
    if (!out || certificate == nullptr) {
        return {};
    }
    const int at = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
    if (at >= 0) {
        X509V3_EXT_print(out.get(), X509_get_ext(certificate, at), 0, 0);
    } else {
        X509_NAME_print_ex(out.get(), X509_get_subject_name(certificate), 0, XN_FLAG_ONELINE);
    }
    drop_openssl_errors();
    return clean_text(text_of(out.get()), names_bytes_max);
}

namespace {

/// Seconds since 1970; nothing for a time that can't be read.
std::optional<wall_time> time_of(const ASN1_TIME *t) {
    std::tm parts{};
    if (t == nullptr || ASN1_TIME_to_tm(t, &parts) != 1) {
        return std::nullopt;
    }
    // Without an end by convention: the year 9999, which is beyond what nanoseconds count to.
    const std::chrono::seconds since(::timegm(&parts));
    constexpr auto most = std::chrono::duration_cast<std::chrono::seconds>(duration::max());
    return wall_time(std::clamp(since, -most, most));
}

void add_term(std::vector<term> &terms, std::string what, const ASN1_TIME *from,
              const ASN1_TIME *until) {
    const auto begin = time_of(from);
    const auto end = time_of(until);
    if (begin && end) {
        terms.push_back({std::move(what), *begin, *end});
    }
}

} // namespace

result<std::vector<term>> terms_of(const std::string &certificate_pem, const std::string &ca_pem,
                                   const std::string &crl_pem) {
    std::vector<term> terms;
    FS_TRY(own, read_certificates(certificate_pem));
    for (const x509_ptr &c : own) {
        add_term(terms, "the certificate " + names_of(c.get()), X509_get0_notBefore(c.get()),
                 X509_get0_notAfter(c.get()));
    }
    if (!ca_pem.empty()) {
        FS_TRY(authorities, read_certificates(ca_pem));
        for (const x509_ptr &c : authorities) {
            add_term(terms, "the CA " + names_of(c.get()), X509_get0_notBefore(c.get()),
                     X509_get0_notAfter(c.get()));
        }
    }
    if (!crl_pem.empty()) {
        FS_TRY(lists, read_revocations(crl_pem));
        for (const crl_ptr &l : lists) {
            add_term(terms, "the list of revoked certificates", X509_CRL_get0_lastUpdate(l.get()),
                     X509_CRL_get0_nextUpdate(l.get()));
        }
    }
    return terms;
}

result<identity> make_identity(const std::string &common_name) {
    if (common_name.empty()) {
        return fail(errc::invalid, "an identity needs a name");
    }
    const key_ptr key(EVP_EC_gen("P-256"));
    const x509_ptr certificate(X509_new());
    if (!key || !certificate || !fill(certificate.get(), key.get(), common_name) ||
        X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0) {
        return openssl_failure("can't make a certificate for '" + common_name + "'");
    }
    FS_TRY(certificate_pem, pem_of(certificate.get()));
    FS_TRY(key_pem, pem_of(key.get()));
    FS_TRY(fingerprint, fingerprint_of(certificate.get()));
    return identity{std::move(certificate_pem), std::move(key_pem), std::move(fingerprint)};
}

result<identity> parse_identity(std::string certificate_pem, std::string key_pem) {
    FS_TRY(certificates, read_certificates(certificate_pem));
    X509 *certificate = certificates.front().get();
    FS_TRY(key, read_private_key(key_pem));
    if (X509_check_private_key(certificate, key.get()) != 1) {
        drop_openssl_errors();
        return fail(errc::invalid, "the private key does not belong to the certificate");
    }
    FS_TRY(fingerprint, fingerprint_of(certificate));
    return identity{std::move(certificate_pem), std::move(key_pem), std::move(fingerprint)};
}

} // namespace farshore::transport
