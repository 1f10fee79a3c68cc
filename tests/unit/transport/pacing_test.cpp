// Links over real sockets whose pacers run on simulated time: the rate is measured exactly, and no
// test waits for it.

#include "tests/support/link_rig.hpp"

namespace farshore::transport {
namespace {

using namespace std::chrono_literals;
using test::running;

struct paced_rig {
    paced_rig() {
        link_pacer->set_rate(4'000'000);
        tls.a.pace = {group_pacer, link_pacer};
        pair = test::connect(tls);
        test::run_until(tls.io, clock, [] { return false; }, 10s); // the burst is full again
    }

    /// Moves simulated time only when the sockets have nothing to do.
    template <class Predicate>
    void run_until(Predicate done) {
        for (int quiet = 0; !done();) {
            tls.io.restart();
            if (tls.io.run_one_for(std::chrono::milliseconds(2)) > 0) {
                quiet = 0;
            } else if (!clock.advance_to_next()) {
                REQUIRE(++quiet < 5000);
            }
        }
    }

    /// Sends `bytes` in messages of `message_bytes`, reading them at the other side; the simulated
    /// time that it took.
    duration transfer(std::size_t bytes, std::size_t message_bytes) {
        const time_point start = clock.now();
        for (std::size_t sent = 0; sent < bytes; sent += message_bytes) {
            running<result<>> sending(tls.io, pair.a->send({1, zeroes(message_bytes)}));
            running<result<message>> receiving(tls.io, pair.b->receive());
            run_until([&] { return sending.done() && receiving.done(); });
            REQUIRE(sending.value());
            REQUIRE(receiving.value());
        }
        return clock.now() - start;
    }
    static buffer zeroes(std::size_t bytes) {
        buffer b(bytes);
        std::memset(b.data(), 0, bytes);
        return b;
    }

    test::sim_clock clock;
    std::shared_ptr<pacer> group_pacer = std::make_shared<pacer>(clock); // unlimited
    std::shared_ptr<pacer> link_pacer = std::make_shared<pacer>(clock);
    test::tls_rig tls;
    test::link_pair pair;
};

} // namespace

TEST_SUITE("pacing") {
    TEST_CASE("pacing: the rate counts every byte on the wire, within 10 %") {
        for (const std::size_t message_bytes : {1'000'000, 50'000, 1000}) {
            CAPTURE(message_bytes);
            paced_rig rig;
            const std::uint64_t before = rig.pair.a->wire().sent;
            const duration took = rig.transfer(1'000'000, message_bytes);
            const double wire = static_cast<double>(rig.pair.a->wire().sent - before);
            const double burst = 4'000'000.0 / 20;
            const double expected = (wire - burst) / 4'000'000;
            CHECK(seconds_of(took) > expected * 0.999); // never faster
            CHECK(seconds_of(took) < expected * 1.1);
        }
    }

    TEST_CASE("pacing: a change of rate takes hold within a second, within a message too") {
        paced_rig rig;
        rig.link_pacer->set_rate(100'000);
        running<result<>> sending(rig.tls.io, rig.pair.a->send({1, paced_rig::zeroes(2'000'000)}));
        running<result<message>> receiving(rig.tls.io, rig.pair.b->receive());
        const time_point start = rig.clock.now();
        rig.run_until([&] { return rig.clock.now() >= start + 2s; });
        CHECK_FALSE(receiving.done());
        CHECK(rig.pair.a->wire().sent < 400'000);
        rig.link_pacer->set_rate(20'000'000);
        const time_point changed = rig.clock.now();
        rig.run_until([&] { return receiving.done(); });
        CHECK(rig.clock.now() - changed < 1s);
        CHECK(sending.value());
    }

    TEST_CASE("pacing: the slowest of several pacers counts") {
        paced_rig rig;
        rig.group_pacer->set_rate(1'000'000);
        const duration took = rig.transfer(1'000'000, 100'000);
        CHECK(took > 900ms);
        CHECK(took < 1100ms);
    }

    TEST_CASE("pacing: close wakes a sender that waits for its share") {
        paced_rig rig;
        rig.link_pacer->set_rate(1);
        running<result<>> paying(rig.tls.io, rig.pair.a->send({1, paced_rig::zeroes(1'000'000)}));
        running<result<>> queued(rig.tls.io, rig.pair.a->send({1, paced_rig::zeroes(10)}));
        const time_point start = rig.clock.now();
        rig.run_until([&] { return rig.clock.now() >= start + 10s; });
        CHECK_FALSE(paying.done());
        rig.pair.a->close();
        const time_point closed = rig.clock.now();
        rig.run_until([&] { return paying.done() && queued.done(); });
        CHECK(rig.clock.now() - closed <= 200ms);
        CHECK(is(paying.value().error(), errc::closed));
        CHECK(is(queued.value().error(), errc::closed));
    }
}

} // namespace farshore::transport
