// What every link promises (transport/link.hpp), run on each implementation.

#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "tests/support/link_rig.hpp"

#include <asio/bind_cancellation_slot.hpp>

#include <random>

namespace farshore::transport {
namespace {

using namespace std::chrono_literals;
using test::connect;
using test::run;
using test::running;

message make_message(std::uint16_t type, std::size_t bytes, std::uint64_t seed) {
    message m{type, bytes > 0 ? buffer(bytes) : buffer()};
    std::mt19937_64 random(seed);
    for (std::size_t at = 0; at < bytes; at += 8) {
        const std::uint64_t word = random();
        std::memcpy(m.payload.data() + at, &word, std::min<std::size_t>(8, bytes - at));
    }
    return m;
}

bool equal(const message &a, const message &b) {
    return a.type == b.type && a.payload.size() == b.payload.size() &&
           checksum64(a.payload.view()) == checksum64(b.payload.view());
}

/// Mostly small, as messages are, some large.
std::size_t random_size(std::mt19937_64 &random) {
    const std::uint64_t kind = random() % 100;
    return kind < 90 ? random() % 2000 : kind < 99 ? random() % 40'000 : random() % 300'000;
}

task<result<>> send_many(link &l, int count, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < count; ++i) {
        const std::size_t bytes = random_size(random);
        FS_CO_CHECK(
            co_await l.send(make_message(static_cast<std::uint16_t>(1 + i % 1000), bytes, i)));
    }
    co_return result<>();
}

/// How many came as they were sent.
task<int> receive_many(link &l, int count, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < count; ++i) {
        const std::size_t bytes = random_size(random);
        const auto m = co_await l.receive();
        if (!m || !equal(*m, make_message(static_cast<std::uint16_t>(1 + i % 1000), bytes, i))) {
            co_return i;
        }
    }
    co_return count;
}

/// Sends until the first failure.
task<error> send_until_failure(link &l, std::size_t bytes) {
    for (;;) {
        if (auto sent = co_await l.send(make_message(1, bytes, 0)); !sent) {
            co_return sent.error();
        }
    }
}

/// The types received until the end, and the end.
task<std::pair<std::vector<int>, error>> receive_all(link &l) {
    std::vector<int> types;
    for (;;) {
        auto m = co_await l.receive();
        if (!m) {
            co_return std::pair(std::move(types), m.error());
        }
        types.push_back(m->type);
    }
}

} // namespace

TEST_SUITE("link") {
    TEST_CASE_TEMPLATE("link: empty, small and the largest messages arrive as they were sent", Rig,
                       test::memory_rig, test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        for (const std::size_t bytes :
             {std::size_t{0}, std::size_t{1}, std::size_t{16375}, std::size_t{16376},
              std::size_t{16377}, std::size_t{131'064}, std::size_t{131'065},
              limits::message_bytes_max}) {
            CAPTURE(bytes);
            running<result<>> sending(rig.io, a->send(make_message(0xfffe, bytes, bytes)));
            const auto got = run(rig, b->receive());
            REQUIRE(got);
            CHECK(equal(*got, make_message(0xfffe, bytes, bytes)));
            REQUIRE(rig.run_until([&] { return sending.done(); }));
            CHECK(sending.value());
        }
        CHECK(run(rig, b->send(make_message(1, 10, 1))));
        CHECK(run(rig, a->receive()));
    }

    TEST_CASE_TEMPLATE("link: names its peer and counts what the line carried", Rig,
                       test::memory_rig, test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        CHECK(a->application() == alpn_session);
        CHECK(b->application() == alpn_session);
        CHECK(a->peer_fingerprint() == rig.fingerprint_b);
        CHECK(b->peer_fingerprint() == rig.fingerprint_a);
        CHECK_FALSE(a->peer_address().empty());
        CHECK_FALSE(b->peer_address().empty());
        const wire_count before = b->wire();
        CHECK(run(rig, a->send(make_message(1, 100'000, 1))));
        CHECK(run(rig, b->receive()));
        const std::uint64_t carried = b->wire().received - before.received;
        CHECK(carried >= 100'008);
        CHECK(carried < 101'000);
        CHECK(a->wire().sent == b->wire().received);
    }

    TEST_CASE_TEMPLATE(
        "link: ten thousand messages of random sizes pass in both directions at once", Rig,
        test::memory_rig, test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        constexpr int count = 10'000;
        running<result<>> a_sends(rig.io, send_many(*a, count, 1));
        running<result<>> b_sends(rig.io, send_many(*b, count, 2));
        running<int> a_receives(rig.io, receive_many(*a, count, 2));
        running<int> b_receives(rig.io, receive_many(*b, count, 1));
        REQUIRE(rig.run_until([&] {
            return a_sends.done() && b_sends.done() && a_receives.done() && b_receives.done();
        }));
        CHECK(a_receives.value() == count);
        CHECK(b_receives.value() == count);
    }

    TEST_CASE_TEMPLATE("link: concurrent sends go out whole and in the order of the calls", Rig,
                       test::memory_rig, test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        std::vector<std::unique_ptr<running<result<>>>> sends;
        for (int i = 0; i < 50; ++i) {
            const std::size_t bytes = i % 5 == 0 ? 400'000 : 10;
            sends.push_back(std::make_unique<running<result<>>>(
                rig.io, a->send(make_message(static_cast<std::uint16_t>(i + 1), bytes, i))));
        }
        for (int i = 0; i < 50; ++i) {
            const auto got = run(rig, b->receive());
            REQUIRE(got);
            CHECK(got->type == i + 1);
        }
    }

    TEST_CASE_TEMPLATE("link: what was sent before an orderly close arrives, then the end", Rig,
                       test::memory_rig, test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        // Unread input at the closing side must not turn the close into a reset.
        CHECK(run(rig, b->send(make_message(9, 1000, 1))));
        for (int i = 1; i <= 20; ++i) {
            CHECK(run(rig, a->send(make_message(static_cast<std::uint16_t>(i), 5000, 1))));
        }
        a->close();
        const auto [types, end] = run(rig, receive_all(*b));
        CHECK(types.size() == 20);
        CHECK(is(end, errc::closed));
        CHECK(is(run(rig, send_until_failure(*b, 10)), errc::closed));
    }

    TEST_CASE_TEMPLATE("link: close wakes pending calls, is idempotent, and later calls fail", Rig,
                       test::memory_rig, test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        running<result<message>> receiving(rig.io, a->receive());
        running<error> sending(rig.io, send_until_failure(*a, 500'000)); // nobody reads: it blocks
        running<result<>> queued(rig.io, a->send(make_message(1, 10, 1)));
        CHECK(run(rig, b->send(make_message(5, 10, 1))));
        REQUIRE(rig.run_until([&] { return receiving.done(); }));
        CHECK(receiving.value());
        running<result<message>> again(rig.io, a->receive());
        CHECK_FALSE(sending.done());
        a->close();
        a->close();
        REQUIRE(rig.run_until([&] { return sending.done() && again.done() && queued.done(); }));
        CHECK(is(sending.value(), errc::closed));
        REQUIRE_FALSE(again.value());
        CHECK(is(again.value().error(), errc::closed));
        const auto sent = run(rig, a->send(make_message(1, 1, 1)));
        REQUIRE_FALSE(sent);
        CHECK(is(sent.error(), errc::closed));
        const auto received = run(rig, a->receive());
        REQUIRE_FALSE(received);
        CHECK(is(received.error(), errc::closed));
    }

    TEST_CASE_TEMPLATE("link: a sender waits when nobody reads, and goes on when somebody does",
                       Rig, test::memory_rig, test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        running<result<>> sending(rig.io,
                                  send_many(*a, 3000, 7)); // tens of MB: more than sockets hold
        std::uint64_t sent_before = 0;
        int quiet = 0;
        rig.run_until([&] {
            quiet = a->wire().sent == sent_before ? quiet + 1 : 0;
            sent_before = a->wire().sent;
            return quiet > 20;
        });
        CHECK_FALSE(sending.done());
        CHECK(run(rig, receive_many(*b, 3000, 7)) == 3000);
        REQUIRE(rig.run_until([&] { return sending.done(); }));
        CHECK(sending.value());
    }

    TEST_CASE_TEMPLATE("link: may be destroyed while calls are pending", Rig, test::memory_rig,
                       test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        running<result<message>> receiving(rig.io, a->receive());
        running<result<>> sending(rig.io, a->send(make_message(1, limits::message_bytes_max, 1)));
        running<result<>> queued(rig.io, a->send(make_message(1, 10, 1)));
        rig.io.restart();
        rig.io.poll_one();
        a.reset();
        REQUIRE(rig.run_until([&] { return receiving.done() && sending.done() && queued.done(); }));
        CHECK(is(receiving.value().error(), errc::closed));
        const auto [types, end] = run(rig, receive_all(*b));
        CHECK(end.code);
    }

    TEST_CASE_TEMPLATE("link: a message beyond the limit is refused and costs nothing else", Rig,
                       test::memory_rig, test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        const auto sent = run(rig, a->send(message{1, buffer(limits::message_bytes_max + 1)}));
        REQUIRE_FALSE(sent);
        CHECK(is(sent.error(), errc::limit));
        CHECK(run(rig, a->send(make_message(2, 10, 1))));
        CHECK(run(rig, b->receive())->type == 2);
    }

    TEST_CASE_TEMPLATE("link: a cancelled receive loses nothing", Rig, test::memory_rig,
                       test::tls_rig) {
        Rig rig;
        auto [a, b] = connect(rig);
        asio::cancellation_signal cancel;
        bool ended = false;
        asio::co_spawn(
            rig.io, b->receive(),
            asio::bind_cancellation_slot(
                cancel.slot(), [&](std::exception_ptr, result<message>) { ended = true; }));
        rig.run_until([&, polls = 0]() mutable { return ++polls > 5; });
        CHECK_FALSE(ended);
        cancel.emit(asio::cancellation_type::terminal);
        REQUIRE(rig.run_until([&] { return ended; }));
        CHECK(run(rig, a->send(make_message(3, 20'000, 1))));
        const auto got = run(rig, b->receive());
        REQUIRE(got);
        CHECK(equal(*got, make_message(3, 20'000, 1)));
    }
}

} // namespace farshore::transport
