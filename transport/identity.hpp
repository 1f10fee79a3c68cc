#pragma once
// Who a daemon is: a private key and a self-signed certificate, made at first start and kept in the
// state directory (mode 0600); known to its peers by the SHA-256 of the certificate.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <string>
#include <vector>

namespace farshore::transport {

struct identity {
    std::string certificate_pem;
    std::string key_pem;
    std::string fingerprint; ///< 64 lower-case hex digits
};

/// New ECDSA P-256 key and certificate (CN = name, valid from one day ago for 20 years).
result<identity> make_identity(const std::string &common_name);
/// From PEM texts; errc::invalid when they don't parse or the key isn't the certificate's.
result<identity> parse_identity(std::string certificate_pem, std::string key_pem);

/// How long something of [tls] is good.
struct term {
    std::string what; ///< for messages
    wall_time from{};
    wall_time until{};
};
/// Of every certificate and list of the texts (the last two may be empty); errc::invalid.
result<std::vector<term>> terms_of(const std::string &certificate_pem, const std::string &ca_pem,
                                   const std::string &crl_pem);

} // namespace farshore::transport
