#include "tests/support/sim_clock.hpp"
#include "transport/pacer.hpp"

#include <doctest/doctest.h>

#include <vector>

namespace farshore::transport {
namespace {

using namespace std::chrono_literals;

task<void> acquire(pacer &p, std::uint64_t bytes, int id, std::vector<int> &order) {
    co_await p.acquire(bytes);
    order.push_back(id);
}

/// A link of a group that always has something to send.
task<void> send_always(pacer &daemon, const void *group, std::uint64_t &sent, const bool &stop) {
    while (!stop) {
        co_await daemon.acquire(16'000, {}, group);
        sent += 16'000;
    }
}

struct rig {
    test::sim_clock clock;
    asio::io_context io{1};
    pacer paced{clock};
    std::vector<int> order;

    void start(std::uint64_t bytes, int id) {
        asio::co_spawn(io, acquire(paced, bytes, id, order), asio::detached);
        test::run_ready(io);
    }
    /// Simulated time until `count` have been served.
    duration served(std::size_t count) {
        const time_point begin = clock.now();
        REQUIRE(test::run_until(io, clock, [&] { return order.size() >= count; }, 1h));
        return clock.now() - begin;
    }
};

} // namespace

TEST_SUITE("pacer") {
    TEST_CASE("pacer: without a rate nobody waits") {
        rig r;
        r.start(1ULL << 40, 1);
        CHECK(r.order == std::vector<int>{1});
        CHECK(r.clock.waiting() == 0);
    }

    TEST_CASE("pacer: waiters are served in the order of asking, at the rate") {
        rig r;
        r.paced.set_rate(1'000'000);
        r.start(50'000, 0); // the burst
        for (int id = 1; id <= 4; ++id) {
            r.start(id == 2 ? 10 : 500'000, id);
        }
        CHECK(r.served(5) == 1'500'010us);
        CHECK(r.order == std::vector<int>{0, 1, 2, 3, 4});
    }

    TEST_CASE("pacer: a higher rate takes hold at once, whatever debt there is") {
        rig r;
        r.paced.set_rate(1000);
        r.start(1'000'000, 1);
        test::run_for(r.io, r.clock, 10s);
        CHECK(r.order.empty());
        r.paced.set_rate(10'000'000);
        CHECK(r.served(1) < 100ms);
        r.start(10'000'000, 2);
        test::run_for(r.io, r.clock, 100ms);
        CHECK(r.order.size() == 1);
        r.paced.set_rate(std::nullopt);
        CHECK(r.served(2) == 0s);
    }

    TEST_CASE("pacer: a lower rate takes hold for those who wait") {
        rig r;
        r.paced.set_rate(10'000'000);
        r.start(500'000, 0);
        r.start(1'000'000, 1);
        CHECK(r.order.size() == 1);
        test::run_for(r.io, r.clock, 50ms);
        r.paced.set_rate(100'000);
        const duration took = r.served(2);
        CHECK(took > 4900ms);
        CHECK(took <= 5s + 1ms);
    }

    TEST_CASE("pacer: two groups share one cap evenly, however many links each has") {
        rig r;
        r.paced.set_rate(1'000'000);
        const int first = 0;
        const int second = 0;
        std::uint64_t sent_first = 0;
        std::uint64_t sent_second = 0;
        bool stop = false;
        asio::co_spawn(r.io, send_always(r.paced, &first, sent_first, stop), asio::detached);
        for (int i = 0; i < 4; ++i) {
            asio::co_spawn(r.io, send_always(r.paced, &second, sent_second, stop), asio::detached);
        }
        test::run_for(r.io, r.clock, 20s);
        CHECK(sent_first + sent_second <= 20 * 1'000'000 + r.paced.rate().value() / 20 + 16'000);
        CHECK(sent_first + sent_second >= 19 * 1'000'000);
        CHECK(sent_first >= 9'500'000);
        CHECK(sent_second >= 9'500'000);
        stop = true;
        r.paced.set_rate(std::nullopt);
        test::run_for(r.io, r.clock, 1s);
    }

    TEST_CASE("pacer: received bytes count, but hold up sending by at most a second") {
        rig r;
        r.paced.set_rate(1'000'000);
        r.start(50'000, 0);
        r.paced.note(300'000);
        r.start(1000, 1);
        CHECK(r.served(2) == 301ms);
        r.paced.note(1'000'000'000);
        r.start(1000, 2);
        CHECK(r.served(3) == 1001ms);
    }
}

} // namespace farshore::transport
