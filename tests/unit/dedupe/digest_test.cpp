#include "dedupe/digest.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::codec_test;

namespace {

dedupe::digest_key key_of(int value) {
    dedupe::digest_key key;
    key.fill(static_cast<std::byte>(value));
    return key;
}

std::string hex_of(dedupe::digester &d, bytes_view bytes) { return to_hex(d.of(bytes).bytes); }

} // namespace

TEST_SUITE("dedupe") {
    TEST_CASE("digest: the first half of SHA-256 over key, then bytes") {
        // Independent: { head -c 32 /dev/zero; printf abc; } | sha256sum
        dedupe::digester d(key_of(0));
        CHECK(hex_of(d, as_bytes("abc")) == "365aa7d8f7f9402c4b9434502b4cc89d");
        CHECK(hex_of(d, as_bytes("abc")) == "365aa7d8f7f9402c4b9434502b4cc89d"); // reused
    }

    TEST_CASE("digest: key, content and length all matter") {
        dedupe::digester one(key_of(1));
        dedupe::digester two(key_of(2));
        const page p = noise(1);
        CHECK(one.of(p) == one.of(p));
        CHECK(one.of(p) == dedupe::digester(key_of(1)).of(p));
        CHECK_FALSE(one.of(p) == two.of(p));
        CHECK_FALSE(one.of(p) == one.of(bytes_view(p).first(4095)));
        CHECK_FALSE(one.of(p) == one.of(with(p, 4095, {0})));
    }

    TEST_CASE("digest: zero content of any length, and nothing else, has the zero value") {
        dedupe::digester d(key_of(9));
        CHECK(d.of({}).is_zero_content());
        for (const std::size_t n : {1UL, 511UL, 4096UL, 65536UL, 1UL << 20}) {
            byte_vector bytes(n);
            CHECK(d.of(bytes).is_zero_content());
            bytes.back() = std::byte{1};
            CHECK_FALSE(d.of(bytes).is_zero_content());
            bytes.back() = std::byte{0};
            bytes.front() = std::byte{1};
            CHECK_FALSE(d.of(bytes).is_zero_content());
        }
    }

    TEST_CASE("digest: a digester can be moved") {
        dedupe::digester first(key_of(3));
        const auto expected = first.of(as_bytes("x"));
        dedupe::digester second(std::move(first));
        CHECK(second.of(as_bytes("x")) == expected);
    }
}
