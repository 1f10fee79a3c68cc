#include "replicator/base/limits.hpp"
#include "tests/support/link_rig.hpp"
#include "transport/tls_session.hpp"

#include <doctest/doctest.h>

namespace farshore::transport {
namespace {

using test::identity_a;
using test::identity_b;

/// Both ends of a session, connected by a function instead of a line.
struct pair_of_sessions {
    explicit pair_of_sessions(std::uint64_t key_update_bytes = 1ULL << 40,
                              const std::string &alpn = alpn_session) {
        a_options.self = identity_a();
        b_options.self = identity_b();
        a_context = *make_tls_context(a_options, tls_role::connecting);
        b_context = *make_tls_context(b_options, tls_role::accepting);
        const trust_check trust_all = [](const peer_claim &) { return result<>(); };
        a = std::make_unique<tls_session>(tls_session::setup{
            a_context.get(), tls_role::connecting, alpn, trust_all, false, "B", key_update_bytes});
        b = std::make_unique<tls_session>(tls_session::setup{
            b_context.get(), tls_role::accepting, {}, trust_all, false, "A", key_update_bytes});
    }

    static void carry(tls_session &from, byte_vector &kept) {
        const auto out = from.take_output({});
        kept.insert(kept.end(), out.view().begin(), out.view().end());
    }
    /// True when both are complete within a few rounds.
    bool shake_hands() {
        bool a_done = false;
        bool b_done = false;
        for (int round = 0; round < 5 && !(a_done && b_done); ++round) {
            byte_vector to_b;
            byte_vector to_a;
            a_done = a->handshake().value_or(false);
            carry(*a, to_b);
            b->feed(to_b);
            b_done = b->handshake().value_or(false);
            carry(*b, to_a);
            a->feed(to_a);
            a_done = a->handshake().value_or(false);
        }
        return a_done && b_done;
    }

    tls_options a_options;
    tls_options b_options;
    ssl_ctx_ptr a_context;
    ssl_ctx_ptr b_context;
    std::unique_ptr<tls_session> a;
    std::unique_ptr<tls_session> b;
};

byte_vector read_all(tls_session &s, bytes_view line) {
    byte_vector plain;
    byte_vector part(5000);
    s.feed(line);
    for (;;) {
        const auto count = s.read(part);
        REQUIRE(count);
        if (*count == 0) {
            return plain;
        }
        plain.insert(plain.end(), part.begin(), part.begin() + static_cast<long>(*count));
    }
}

} // namespace

TEST_SUITE("tls_session") {
    TEST_CASE("tls_session: agrees on TLS 1.3, the application and each other's fingerprint") {
        pair_of_sessions p;
        REQUIRE(p.shake_hands());
        CHECK(p.a->agreed_application() == alpn_session);
        CHECK(p.b->agreed_application() == alpn_session);
        CHECK(p.a->peer_fingerprint() == identity_b().fingerprint);
        CHECK(p.b->peer_fingerprint() == identity_a().fingerprint);
        pair_of_sessions join(1, alpn_join);
        REQUIRE(join.shake_hands());
        CHECK(join.b->agreed_application() == alpn_join);
        pair_of_sessions unknown(1, "farshore/2");
        CHECK_FALSE(unknown.shake_hands());
    }

    TEST_CASE("tls_session: no ticket is sent, so that nothing can be resumed") {
        pair_of_sessions p;
        REQUIRE(p.shake_hands());
        CHECK_FALSE(p.b->has_output());
    }

    TEST_CASE("tls_session: the sending key is renewed by volume, and the peer follows") {
        pair_of_sessions p(100'000);
        REQUIRE(p.shake_hands());
        byte_vector plain(64 * 1024);
        for (std::size_t round = 0; round < 50; ++round) {
            std::fill(plain.begin(), plain.end(), std::byte(round));
            REQUIRE(p.a->write(plain));
            byte_vector line;
            pair_of_sessions::carry(*p.a, line);
            CHECK(read_all(*p.b, line) == plain);
            REQUIRE(p.b->write(bytes_view(plain).first(10)));
            byte_vector back;
            pair_of_sessions::carry(*p.b, back);
            CHECK(read_all(*p.a, back).size() == 10);
        }
        CHECK(p.a->key_updates() == 24); // after every second write of 64 KiB
        CHECK(p.b->key_updates() == 0);
    }

    TEST_CASE("tls_session: a peer that renews its keys without end is cut off, one that sends "
              "data is not") {
        pair_of_sessions p(1); // a renews before each write
        REQUIRE(p.shake_hands());
        byte_vector out(64 * 1024);
        const auto send = [&](bytes_view plain) -> result<std::size_t> {
            REQUIRE(p.a->write(plain));
            byte_vector line;
            pair_of_sessions::carry(*p.a, line);
            p.b->feed(line);
            result<std::size_t> sum = std::size_t{0};
            for (;;) {
                const auto count = p.b->read(out);
                if (!count || *count == 0) {
                    return count ? sum : count;
                }
                *sum += *count;
            }
        };
        const byte_vector large(2 * limits::MiB);
        for (int i = 0; i < 100; ++i) {
            REQUIRE(send(large));
        }
        int taken = 0;
        result<std::size_t> got = std::size_t{0};
        while (taken < 1000 && (got = send(as_bytes("x")))) {
            ++taken;
        }
        CHECK(taken < 300); // what 200 MiB and the start allow
        REQUIRE_FALSE(got);
        CHECK(is(got.error(), errc::limit));
        CHECK(p.b->output_bytes() < 64 * 1024);
    }

    TEST_CASE("tls_session: a changed byte on the line is an error, never wrong data") {
        pair_of_sessions p;
        REQUIRE(p.shake_hands());
        REQUIRE(p.a->write(as_bytes("some words")));
        byte_vector line;
        pair_of_sessions::carry(*p.a, line);
        line[line.size() / 2] ^= std::byte{1};
        byte_vector out(100);
        p.b->feed(line);
        const auto got = p.b->read(out);
        REQUIRE_FALSE(got);
        CHECK(is(got.error(), errc::corrupt));
    }

    TEST_CASE("tls_session: the farewell is the end in order") {
        pair_of_sessions p;
        REQUIRE(p.shake_hands());
        p.a->farewell();
        byte_vector line;
        pair_of_sessions::carry(*p.a, line);
        byte_vector out(100);
        p.b->feed(line);
        const auto got = p.b->read(out);
        REQUIRE_FALSE(got);
        CHECK(is(got.error(), errc::closed));
    }

    TEST_CASE("tls_session: a client without a certificate is refused") {
        pair_of_sessions p;
        const ssl_ctx_ptr bare(SSL_CTX_new(TLS_client_method()));
        p.a = std::make_unique<tls_session>(
            tls_session::setup{bare.get(), tls_role::connecting, alpn_session, {}, false, "B", 1});
        SSL_CTX_set_verify(bare.get(), SSL_VERIFY_NONE, nullptr);
        byte_vector to_b;
        REQUIRE(p.a->handshake());
        pair_of_sessions::carry(*p.a, to_b);
        p.b->feed(to_b);
        CHECK(p.b->handshake().value_or(true) == false);
        byte_vector to_a;
        pair_of_sessions::carry(*p.b, to_a);
        p.a->feed(to_a);
        (void)p.a->handshake(); // our wrapper misses the fingerprint, but its Finished is out
        to_b.clear();
        pair_of_sessions::carry(*p.a, to_b);
        p.b->feed(to_b);
        const auto done = p.b->handshake();
        REQUIRE_FALSE(done);
        CHECK(p.b->peer_fingerprint().empty());
    }

    TEST_CASE("tls_session: an identity that can't be used is told when the context is made") {
        tls_options broken;
        broken.self = identity_a();
        broken.self.key_pem = identity_b().key_pem;
        CHECK_FALSE(make_tls_context(broken, tls_role::connecting));
        broken.self = identity_a();
        broken.ca_pem = "not a certificate";
        CHECK_FALSE(make_tls_context(broken, tls_role::accepting));
    }
}

} // namespace farshore::transport
