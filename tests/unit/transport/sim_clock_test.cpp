#include "tests/support/sim_clock.hpp"

#include <doctest/doctest.h>

#include <vector>

namespace farshore {
namespace {

using namespace std::chrono_literals;

task<void> sleeper(time_source &time, duration d, int id, std::vector<int> &order) {
    co_await time.sleep_for(d);
    order.push_back(id);
}

task<void> ticker(time_source &time, duration period, int &ticks) {
    for (;;) {
        co_await time.sleep_for(period);
        ++ticks;
    }
}

task<void> bounded_wait(condition &c, time_source &time, int &outcome) {
    outcome = co_await c.wait_until(time, time.now() + 10s) ? 1 : 2;
}

} // namespace

TEST_SUITE("sim_clock") {
    TEST_CASE(
        "sim_clock: sleepers wake by deadline, and in the order of arming within one deadline") {
        test::sim_clock clock;
        asio::io_context io(1);
        std::vector<int> order;
        int id = 0;
        for (const duration d : {3s, 1s, 2s, 1s, 3s}) {
            asio::co_spawn(io, sleeper(clock, d, id++, order), asio::detached);
        }
        const time_point start = clock.now();
        CHECK(test::run_until(io, clock, [&] { return order.size() == 5; }, 10s));
        CHECK(order == std::vector<int>{1, 3, 2, 0, 4});
        CHECK(clock.now() - start == 3s);
        CHECK(clock.waiting() == 0);
    }

    TEST_CASE("sim_clock: run_until stops at the limit and says that the condition does not hold") {
        test::sim_clock clock;
        asio::io_context io(1);
        int ticks = 0;
        asio::co_spawn(io, ticker(clock, 1s, ticks), asio::detached);
        const time_point start = clock.now();
        CHECK_FALSE(test::run_until(io, clock, [&] { return ticks > 100; }, 5500ms));
        CHECK(ticks == 5);
        CHECK(clock.now() - start == 5500ms);
        test::run_for(io, clock, 500ms);
        CHECK(ticks == 6);
    }

    TEST_CASE("sim_clock: run_until returns when nobody waits for anything") {
        test::sim_clock clock;
        asio::io_context io(1);
        CHECK_FALSE(test::run_until(io, clock, [] { return false; }, 1h));
    }

    TEST_CASE("sim_clock: a condition is notified before its deadline, or times out at it") {
        test::sim_clock clock;
        asio::io_context io(1);
        condition c;
        int first = 0;
        asio::co_spawn(io, bounded_wait(c, clock, first), asio::detached);
        test::run_ready(io);
        c.notify_all();
        test::run_ready(io);
        CHECK(first == 1);
        CHECK(clock.waiting() == 0);
        int second = 0;
        asio::co_spawn(io, bounded_wait(c, clock, second), asio::detached);
        const time_point start = clock.now();
        CHECK(test::run_until(io, clock, [&] { return second != 0; }, 1min));
        CHECK(second == 2);
        CHECK(clock.now() - start == 10s);
    }

    TEST_CASE("sim_clock: a jump of the wall time leaves the steady time alone") {
        test::sim_clock clock;
        const time_point steady = clock.now();
        CHECK(to_rfc3339(clock.wall()) == "2026-01-01T00:00:00.000Z");
        clock.jump_wall(-1h);
        CHECK(to_rfc3339(clock.wall()) == "2025-12-31T23:00:00.000Z");
        clock.set_wall(wall_time(std::chrono::seconds(1767225600)));
        clock.advance(1500ms);
        CHECK(to_rfc3339(clock.wall()) == "2026-01-01T00:00:01.500Z");
        CHECK(clock.now() - steady == 1500ms);
    }
}

} // namespace farshore
