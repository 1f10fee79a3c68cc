// The faults and the timing of the line in memory.

#include "tests/support/link_rig.hpp"

namespace farshore::transport {
namespace {

using namespace std::chrono_literals;
using test::connect;
using test::memory_rig;
using test::run;
using test::running;

memory_network_options options(duration delay, std::uint64_t rate = 0) {
    return {.delay = delay, .bytes_per_second = rate};
}

void send(memory_rig &rig, link &l, std::uint16_t type, std::size_t bytes = 10) {
    REQUIRE(run(rig, l.send({type, buffer(bytes)})));
}

/// What a run looks like from outside: types and times at one side.
std::string history(std::uint64_t seed) {
    memory_rig rig({.delay = 10ms,
                    .jitter = 30ms,
                    .bytes_per_second = 1'000'000,
                    .reset_probability = 0.01,
                    .seed = seed});
    std::string log;
    auto [a, b] = connect(rig);
    for (std::uint16_t i = 1; i < 200; ++i) {
        if (!run(rig, a->send({i, buffer(i * 10)}))) {
            log += "!";
            break;
        }
        running<result<message>> got(rig.io, b->receive());
        rig.run_until([&] { return got.done(); });
        log += (got.value() ? std::to_string(got.value()->type) : got.value().error().text()) +
               "@" + std::to_string(rig.clock.now().time_since_epoch().count()) + " ";
        if (!got.value()) {
            break;
        }
    }
    return log;
}

} // namespace

TEST_SUITE("memory_network") {
    TEST_CASE("memory_network: the same seed gives the same run, another seed another") {
        CHECK(history(7) == history(7));
        CHECK(history(7) != history(8));
    }

    TEST_CASE("memory_network: delay and rate are those of the options") {
        memory_rig rig(options(50ms, 1'000'000));
        auto [a, b] = connect(rig);
        const time_point start = rig.clock.now();
        send(rig, *a, 1, 99'992); // 100 ms of the line with its envelope
        CHECK(run(rig, b->receive()));
        CHECK(rig.clock.now() - start == 150ms);
        send(rig, *b, 1, 0);
        CHECK(run(rig, a->receive()));
        CHECK(rig.clock.now() - start == 200ms + 8us);
    }

    TEST_CASE("memory_network: links share the rate, and a slow line holds up the sender") {
        memory_rig rig(options(1ms, 1'000'000));
        auto first = connect(rig);
        auto second = connect(rig);
        const time_point start = rig.clock.now();
        for (int i = 0; i < 10; ++i) {
            send(rig, *first.a, 1, 99'992);
            send(rig, *second.a, 1, 99'992);
        }
        CHECK(rig.clock.now() - start >=
              1700ms); // 2 MB, of which 128 KiB and the last may be unsent
        CHECK(rig.clock.now() - start <= 2s);
    }

    TEST_CASE("memory_network: jitter never changes the order within a link") {
        memory_rig rig({.delay = 1ms, .jitter = 100ms});
        auto [a, b] = connect(rig);
        for (std::uint16_t i = 1; i <= 50; ++i) {
            send(rig, *a, i);
        }
        for (int i = 1; i <= 50; ++i) {
            CHECK(run(rig, b->receive())->type == i);
        }
    }

    TEST_CASE("memory_network: a cut loses what was in flight and fails links after the notice") {
        memory_rig rig(options(10ms));
        auto [a, b] = connect(rig);
        send(rig, *a, 1);
        rig.clock.advance(10ms);
        send(rig, *a, 2); // not there yet
        rig.network.cut(5s);
        const time_point cut = rig.clock.now();
        CHECK(run(rig, b->receive())->type == 1);
        send(rig, *a, 3); // the sender can't know
        running<result<message>> waiting(rig.io, a->receive());
        const auto end = run(rig, b->receive());
        REQUIRE_FALSE(end);
        CHECK(is(end.error(), errc::closed));
        CHECK(rig.clock.now() - cut == 5s);
        CHECK(is(waiting.value().error(), errc::closed));
        const auto refused = run(rig, rig.connector()->connect(1s));
        REQUIRE_FALSE(refused);
        CHECK(is_errno(refused.error(), EHOSTUNREACH));
        rig.network.heal();
        CHECK(connect(rig).a);
        CHECK_FALSE(run(rig, a->send({1, buffer(1)}))); // the old one stays dead
    }

    TEST_CASE("memory_network: half-open tells nobody, and connects hang until it heals") {
        memory_rig rig(options(10ms));
        auto [a, b] = connect(rig);
        rig.network.half_open();
        send(rig, *a, 1);
        running<result<message>> waiting(rig.io, b->receive());
        const auto hung = run(rig, rig.connector()->connect(3s));
        REQUIRE_FALSE(hung);
        CHECK(is(hung.error(), errc::timeout));
        const auto connector = rig.connector();
        running<result<std::unique_ptr<link>>> later(rig.io, connector->connect(1h));
        test::run_for(rig.io, rig.clock, 10min);
        CHECK_FALSE(later.done());
        rig.network.heal();
        REQUIRE(rig.run_until([&] { return later.done(); }));
        CHECK(later.value());
        a->close(); // its farewell is lost as well
        test::run_for(rig.io, rig.clock, 10min);
        CHECK_FALSE(waiting.done());
        b->close();
        test::run_ready(rig.io);
        CHECK(waiting.done());
    }

    TEST_CASE("memory_network: a reset of all links is told to both sides at once") {
        memory_rig rig;
        auto [a, b] = connect(rig);
        running<result<message>> at_a(rig.io, a->receive());
        running<result<message>> at_b(rig.io, b->receive());
        test::run_ready(rig.io);
        rig.network.reset_all();
        test::run_ready(rig.io);
        CHECK(is_errno(at_a.value().error(), ECONNRESET));
        CHECK(is_errno(at_b.value().error(), ECONNRESET));
        CHECK(connect(rig).a);
    }

    TEST_CASE("memory_network: a random reset ends both sides of its link only") {
        memory_rig rig;
        auto unlucky = connect(rig);
        auto lucky = connect(rig);
        rig.network.set_options({.reset_probability = 1});
        send(rig, *unlucky.a, 1);
        rig.network.set_options({});
        CHECK(is_errno(run(rig, unlucky.b->receive()).error(), ECONNRESET));
        CHECK(is_errno(run(rig, unlucky.a->receive()).error(), ECONNRESET));
        send(rig, *lucky.a, 2);
        CHECK(run(rig, lucky.b->receive())->type == 2);
    }

    TEST_CASE("memory_network: nobody listening is refused; a listener may go") {
        memory_rig rig;
        rig.network.listen("site-b", {});
        const auto refused = run(rig, rig.connector()->connect(1s));
        REQUIRE_FALSE(refused);
        CHECK(is_errno(refused.error(), ECONNREFUSED));
    }

    TEST_CASE("memory_network: counts what it carried") {
        memory_rig rig;
        auto [a, b] = connect(rig);
        send(rig, *a, 1, 992);
        send(rig, *b, 1, 1992);
        CHECK(rig.network.bytes_carried() == 3000);
    }

    TEST_CASE("memory_network: links may outlive it") {
        asio::io_context io(1);
        test::sim_clock clock;
        std::unique_ptr<link> accepted;
        auto network =
            std::make_unique<memory_network>(io.get_executor(), clock, memory_network_options());
        network->listen("x", [&](std::unique_ptr<link> l) { accepted = std::move(l); });
        const auto connector = network->make_connector("x", alpn_session, "a", "b");
        running<result<std::unique_ptr<link>>> made(io, connector->connect(1s));
        REQUIRE(test::run_until(io, clock, [&] { return made.done(); }, 1s));
        network.reset();
        running<result<>> sent(io, (*made.value())->send({1, buffer(1)}));
        running<result<message>> got(io, accepted->receive());
        REQUIRE(test::run_until(io, clock, [&] { return got.done(); }, 1s));
        CHECK(got.value());
    }
}

} // namespace farshore::transport
