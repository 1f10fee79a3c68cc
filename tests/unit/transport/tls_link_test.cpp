// What is particular to links over TLS: trust, refusals, hostile peers, pacing on real sockets.

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "tests/support/link_rig.hpp"
#include "transport/guest_policy.hpp"
#include "transport/tls_session.hpp"

#include <algorithm>

namespace farshore::transport {
namespace {

using namespace std::chrono_literals;
using test::connect;
using test::run;
using test::running;
using test::tls_rig;

bool says(const error &e, const std::string &words) {
    return e.text().find(words) != std::string::npos;
}

error failed_connect(tls_rig &rig, const std::string &alpn = alpn_session, duration timeout = 20s) {
    const auto connector = rig.connector(alpn);
    const auto made = run(rig, connector->connect(timeout));
    REQUIRE_FALSE(made);
    return made.error();
}

const identity &another_identity() {
    static const auto made = make_identity("somebody else");
    return *made;
}

trust_check no_one() {
    return [](const peer_claim &) -> result<> { return fail(errc::not_trusted, "nobody trusts"); };
}

/// A plain TCP client of the rig's listener, for what no honest peer sends.
struct raw_client {
    explicit raw_client(tls_rig &rig) : socket(rig.io) {
        socket.connect({asio::ip::make_address("127.0.0.1"), rig.listener->port()});
    }
    asio::ip::tcp::socket socket;
};

task<std::error_code> write_bytes(asio::ip::tcp::socket &socket, bytes_view bytes) {
    while (!bytes.empty()) {
        const auto [code, count] =
            co_await socket.async_write_some(asio::buffer(bytes.data(), bytes.size()), as_result);
        if (code) {
            co_return code;
        }
        bytes = bytes.subspan(count);
    }
    co_return std::error_code();
}

/// Everything until the other side ends the connection.
task<byte_vector> read_to_end(asio::ip::tcp::socket &socket) {
    byte_vector all;
    byte_vector part(4096);
    for (;;) {
        const auto [code, count] = co_await socket.async_read_some(asio::buffer(part), as_result);
        if (code) {
            co_return all;
        }
        all.insert(all.end(), part.begin(), part.begin() + static_cast<long>(count));
    }
}

/// Shakes hands over a socket as an authenticated peer that then misbehaves.
task<bool> shake_hands(asio::ip::tcp::socket &socket, tls_session &session) {
    byte_vector part(4096);
    for (;;) {
        const auto done = session.handshake();
        const auto out = session.take_output({});
        if (!done || co_await write_bytes(socket, out.view())) {
            co_return false;
        }
        if (*done) {
            co_return true;
        }
        const auto [code, count] = co_await socket.async_read_some(asio::buffer(part), as_result);
        if (code) {
            co_return false;
        }
        session.feed(bytes_view(part).first(count));
    }
}

/// Collects the warnings of a test.
struct warnings {
    warnings() {
        log::set_sink([this](log::level l, std::string_view text) {
            if (l == log::level::warning) {
                lines.emplace_back(text);
            }
        });
    }
    ~warnings() { log::set_sink({}); }
    std::vector<std::string> lines;
};

} // namespace

TEST_SUITE("tls_link") {
    TEST_CASE("tls_link: the connecting side refuses a certificate that is not the pinned one") {
        tls_rig rig;
        rig.a.trust = no_one();
        const error e = failed_connect(rig);
        CHECK(is(e, errc::not_trusted));
        CHECK(says(e, rig.fingerprint_b));
        CHECK(says(e, "127.0.0.1:" + std::to_string(rig.listener->port())));
        CHECK(rig.accepted.empty());
    }

    TEST_CASE(
        "tls_link: the accepting side refuses, and connect() fails instead of the first use") {
        warnings seen;
        tls_rig rig;
        std::string asked;
        rig.b.trust = [&](const peer_claim &peer) -> result<> {
            asked = peer.fingerprint + " " + peer.alpn;
            return fail(errc::not_trusted, "nobody trusts");
        };
        const error e = failed_connect(rig, alpn_join);
        CHECK(is(e, errc::not_trusted));
        CHECK(says(e, "refused our certificate"));
        CHECK(asked == rig.fingerprint_a + " " + alpn_join);
        CHECK(rig.accepted.empty());
        CHECK(std::ranges::any_of(seen.lines, [&](const std::string &line) {
            return line.find(rig.fingerprint_a) != std::string::npos;
        }));
    }

    TEST_CASE("tls_link: without a trust check nobody is trusted") {
        tls_rig rig;
        rig.b.trust = {};
        CHECK(is(failed_connect(rig), errc::not_trusted));
    }

    TEST_CASE("tls_link: a CA decides as well where there is one") {
        tls_rig rig;
        rig.a.ca_pem = another_identity().certificate_pem;
        const error e = failed_connect(rig);
        CHECK(is(e, errc::not_trusted));
        CHECK(says(e, "not accepted under the site's CA"));
        tls_rig own;
        own.a.ca_pem = test::identity_b().certificate_pem; // its own root
        CHECK(connect(own).a);
    }

    TEST_CASE("tls_link: another application protocol is refused") {
        tls_rig rig;
        CHECK(is(failed_connect(rig, "farshore/2"), errc::unsupported));
        CHECK(is(failed_connect(rig, "http/1.1"), errc::unsupported));
        CHECK(connect(rig).a);
    }

    TEST_CASE("tls_link: nobody listening, nobody answering and unknown names are told apart") {
        tls_rig rig;
        rig.start();
        const std::uint16_t port = rig.listener->port();
        run(rig, test::finished(rig.listener->close()));
        tls_connector nobody(rig.io.get_executor(), {"127.0.0.1", port}, alpn_session, rig.a);
        const auto none = run(rig, nobody.connect(10s));
        REQUIRE_FALSE(none);
        const error refused = none.error();
        CHECK(is_errno(refused, ECONNREFUSED));
        CHECK(says(refused, "can't reach 127.0.0.1:" + std::to_string(port)));
        CHECK(says(refused, "is farshore-receiver running there?"));

        asio::ip::tcp::acceptor silent(rig.io, {asio::ip::make_address("127.0.0.1"), 0});
        tls_connector waiting(rig.io.get_executor(), {"127.0.0.1", silent.local_endpoint().port()},
                              alpn_session, rig.a);
        const auto timed_out = run(rig, waiting.connect(30ms));
        REQUIRE_FALSE(timed_out);
        CHECK(is(timed_out.error(), errc::timeout));

        tls_connector lost(rig.io.get_executor(), {"no-such-host.invalid", 1}, alpn_session, rig.a);
        const auto unknown = run(rig, lost.connect(10s));
        REQUIRE_FALSE(unknown);
        CHECK(says(unknown.error(), "no-such-host.invalid"));
    }

    TEST_CASE("tls_link: a name is resolved, and all its addresses are tried") {
        tls_rig rig;
        rig.start();
        tls_connector by_name(rig.io.get_executor(), {"localhost", rig.listener->port()},
                              alpn_session, rig.a);
        const auto made =
            run(rig, by_name.connect(10s)); // ::1 first on many hosts, where none listens
        REQUIRE(made);
        CHECK((*made)->peer_address() == "localhost:" + std::to_string(rig.listener->port()));
    }

    TEST_CASE("tls_link: a port in use is busy") {
        tls_rig rig;
        rig.start();
        tls_listener second(rig.io.get_executor(), rig.b, [](std::unique_ptr<link>) {});
        const auto r = second.listen({"127.0.0.1", rig.listener->port()});
        REQUIRE_FALSE(r);
        CHECK(is(r.error(), errc::busy));
    }

    TEST_CASE("tls_link: TLS 1.2 is answered with an alert") {
        tls_rig rig;
        rig.start();
        const ssl_ctx_ptr old(SSL_CTX_new(TLS_client_method()));
        SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
        tls_session session({old.get(), tls_role::connecting, alpn_session, {}, false, "B", 1});
        raw_client client(rig);
        running<bool> shaking(rig.io, shake_hands(client.socket, session));
        REQUIRE(rig.run_until([&] { return shaking.done(); }));
        CHECK_FALSE(shaking.value());
        const auto why = session.handshake();
        REQUIRE_FALSE(why);
        CHECK(rig.accepted.empty());
    }

    TEST_CASE("tls_link: random bytes cost only their own connection") {
        warnings seen;
        tls_rig rig;
        rig.start();
        auto [a, b] = connect(rig);
        for (int i = 0; i < 20; ++i) {
            raw_client client(rig);
            const byte_vector garbage(3000, static_cast<std::byte>(17 * i));
            (void)run(rig, write_bytes(client.socket, garbage));
            (void)run(rig, read_to_end(client.socket)); // ends: refused
        }
        CHECK(rig.accepted.empty());
        CHECK(run(rig, a->send({1, buffer(10)})));
        CHECK(run(rig, b->receive()));
        const auto about = [](const std::string &l) { return l.find("refused a c") != l.npos; };
        const auto lines = std::ranges::count_if(seen.lines, about);
        CHECK(lines >= 1);
        CHECK(lines <= 3); // one a second, not one a knock
    }

    TEST_CASE("tls_link: an endless handshake is cut off at its limit of bytes") {
        // A ClientHello in plausible records: of 16 MB, which OpenSSL refuses, and of 128 KiB, for
        // whose rest it would wait.
        for (const std::uint32_t claimed : {0xff0000U, 0x01fff0U}) {
            CAPTURE(claimed);
            warnings seen;
            tls_rig rig;
            rig.start();
            raw_client client(rig);
            byte_vector record(5 + 16384, std::byte{0});
            record[0] = std::byte{22};
            record[1] = std::byte{3};
            record[2] = std::byte{3};
            record[3] = std::byte{0x40};
            record[5] = std::byte{1};
            record[6] = static_cast<std::byte>(claimed >> 16);
            record[7] = static_cast<std::byte>(claimed >> 8 & 0xff);
            record[8] = static_cast<std::byte>(claimed & 0xff);
            byte_vector flood;
            for (int i = 0; i < 6; ++i) {
                flood.insert(flood.end(), record.begin(), record.end());
            }
            (void)run(rig, write_bytes(client.socket, flood));
            REQUIRE(rig.run_until([&] { return !seen.lines.empty(); }));
            CHECK(seen.lines.front().find(make_error_code(errc::timeout).message()) ==
                  std::string::npos);
            CHECK(rig.accepted.empty());
        }
    }

    TEST_CASE("tls_link: half a handshake ends at the timeout") {
        tls_rig rig;
        rig.b.handshake_timeout = 500ms; // enough for an honest one on a busy host
        rig.start();
        const auto before = rig.machine.now();
        raw_client client(rig);
        (void)run(rig, write_bytes(client.socket, as_bytes("\x16\x03\x01\x02")));
        (void)run(rig, read_to_end(client.socket));
        CHECK(rig.machine.now() - before >= 500ms);
        CHECK(connect(rig).a);
    }

    TEST_CASE("tls_link: idle connections are bounded and don't shut out an honest peer") {
        warnings seen;
        tls_rig rig;
        rig.start();
        std::vector<std::unique_ptr<raw_client>> idle;
        for (std::size_t i = 0; i < lobby_max + 20; ++i) {
            idle.push_back(std::make_unique<raw_client>(rig));
        }
        const auto before = rig.machine.now();
        CHECK(connect(rig).a);
        CHECK(rig.machine.now() - before < 5s); // at once: who is silent takes no place
        CHECK(std::ranges::any_of(seen.lines, [](const std::string &l) {
            return l.find("too many connections at once") != l.npos;
        }));
    }

    TEST_CASE("tls_link: connections that begin a handshake and stop give way to an honest peer") {
        tls_rig rig;
        rig.b.handshake_timeout = 5s; // a place may be taken away after a fifth of it
        rig.start();
        std::vector<std::unique_ptr<raw_client>> idle;
        for (std::size_t i = 0; i < source_places_max + 20; ++i) {
            idle.push_back(std::make_unique<raw_client>(rig));
            (void)run(rig, write_bytes(idle.back()->socket, as_bytes("\x16")));
        }
        const auto before = rig.machine.now();
        CHECK(connect(rig).a);
        CHECK(rig.machine.now() - before < 4s); // not only when their time is over
    }

    TEST_CASE("tls_link: closing the listener ends handshakes in progress at once") {
        tls_rig rig;
        rig.start();
        raw_client client(rig);
        (void)run(rig, write_bytes(client.socket, as_bytes("\x16")));
        const auto before = rig.machine.now();
        run(rig, test::finished(rig.listener->close()));
        CHECK(rig.machine.now() - before < 5s); // the handshake's timeout is 10 s
        CHECK(rig.listener->port() == 0);
    }

    TEST_CASE("tls_link: a length beyond the limit closes the link before anything is allocated") {
        struct hostile {
            const char *application;
            std::string_view head;
            errc wanted;
        };
        using namespace std::string_view_literals;
        for (const auto &[application, head, wanted] :
             {hostile{alpn_session, "\x01\x00\x20\x00\x01\x00\x00\x00"sv, errc::limit}, // 2 MiB + 1
              hostile{alpn_session, "\x01\x00\x00\x00\x01\x00\x01\x00"sv,
                      errc::corrupt}, // reserved
              hostile{alpn_join, "\x01\x40\x00\x00\x01\x00\x00\x00"sv,
                      errc::limit}}) { // 16 KiB + 1
            CAPTURE(application);
            tls_rig rig;
            rig.start();
            const auto context = make_tls_context(rig.a, tls_role::connecting);
            REQUIRE(context);
            tls_session session({context->get(), tls_role::connecting, application, rig.a.trust,
                                 false, "B", 1 << 30});
            raw_client client(rig);
            running<bool> shaking(rig.io, shake_hands(client.socket, session));
            REQUIRE(rig.run_until([&] { return shaking.done(); }));
            REQUIRE(rig.run_until([&] { return rig.accepted.size() == 1; }));
            REQUIRE(session.write(as_bytes(head)));
            const auto out = session.take_output({});
            CHECK_FALSE(run(rig, write_bytes(client.socket, out.view())));
            const auto got = run(rig, rig.accepted.front()->receive());
            REQUIRE_FALSE(got);
            CHECK(is(got.error(), wanted));
            const auto again = run(rig, rig.accepted.front()->receive());
            CHECK_FALSE(again);
        }
    }

    TEST_CASE("tls_link: a connection that breaks off is not an orderly close") {
        tls_rig rig;
        rig.start();
        const auto context = make_tls_context(rig.a, tls_role::connecting);
        tls_session session(
            {context->get(), tls_role::connecting, alpn_session, rig.a.trust, false, "B", 1 << 30});
        auto client = std::make_unique<raw_client>(rig);
        running<bool> shaking(rig.io, shake_hands(client->socket, session));
        REQUIRE(rig.run_until([&] { return rig.accepted.size() == 1 && shaking.done(); }));
        client.reset();
        const auto got = run(rig, rig.accepted.front()->receive());
        REQUIRE_FALSE(got);
        CHECK(is_errno(got.error(), ECONNRESET));
    }
}

} // namespace farshore::transport
