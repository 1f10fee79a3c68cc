#include "transport/identity.hpp"

#include <doctest/doctest.h>

namespace farshore::transport {

TEST_SUITE("identity") {
    TEST_CASE("identity: a new one parses back to the same fingerprint, and no two are alike") {
        const auto a = make_identity("site-a");
        const auto b = make_identity("site-a");
        REQUIRE(a);
        REQUIRE(b);
        CHECK(a->fingerprint.size() == 64);
        CHECK(a->fingerprint.find_first_not_of("0123456789abcdef") == std::string::npos);
        CHECK(a->fingerprint != b->fingerprint);
        const auto parsed = parse_identity(a->certificate_pem, a->key_pem);
        REQUIRE(parsed);
        CHECK(parsed->fingerprint == a->fingerprint);
        CHECK(parsed->key_pem == a->key_pem);
    }

    TEST_CASE("identity: a key of another certificate, garbage and emptiness are refused") {
        const auto a = make_identity("a");
        const auto b = make_identity("b");
        REQUIRE(a);
        REQUIRE(b);
        const auto refused = [](const std::string &certificate, const std::string &key) {
            const auto r = parse_identity(certificate, key);
            REQUIRE_FALSE(r);
            CHECK(is(r.error(), errc::invalid));
            return r.error().text();
        };
        CHECK(refused(a->certificate_pem, b->key_pem).find("does not belong") != std::string::npos);
        CHECK(refused("garbage", a->key_pem).find("not a certificate") != std::string::npos);
        CHECK(refused(a->certificate_pem, "").find("not a private key") != std::string::npos);
        CHECK(refused(a->key_pem, a->certificate_pem).find("not a certificate") !=
              std::string::npos);
        CHECK_FALSE(make_identity(""));
    }

    TEST_CASE("identity: a long name is cut, not refused") {
        CHECK(make_identity(std::string(300, 'x')));
    }
}

} // namespace farshore::transport
