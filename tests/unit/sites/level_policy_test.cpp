#include "replicator/sender/level_policy.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

constexpr int dense = dedupe::encoder_options::dense;
constexpr double idle = level_policy::idle_share - 0.01;
constexpr double middling = level_policy::idle_share + 0.01;

int at(level_policy &p, std::size_t waiting, double busy) {
    return p.next({.waiting = waiting, .busy = busy});
}

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("level: the table of steps, every pair") {
        using enum encoder_step;
        for (std::size_t s = 0; s < encoder_steps; ++s) {
            const auto step = static_cast<encoder_step>(s);
            CHECK(next_step(step, encoder_event::late) == quickest);
            // Never up by more than one, nor up at all while something waits.
            for (std::size_t e = 0; e < encoder_events; ++e) {
                const auto event = static_cast<encoder_event>(e);
                const auto after = static_cast<std::size_t>(next_step(step, event));
                CHECK(after <= s + 1);
                const bool calm = event == encoder_event::idle || event == encoder_event::free;
                CHECK((calm || after <= s));
                CHECK((event != encoder_event::free || after != 2 || s == 2)); // dense needs time
            }
        }
        CHECK(next_step(dense, encoder_event::dear) == usual);
        CHECK(next_step(dense, encoder_event::waiting) == dense); // it is slower, that's known
        CHECK(next_step(quickest, encoder_event::free) == usual);
        CHECK(next_step(usual, encoder_event::idle) == dense);
    }

    TEST_CASE(
        "level: zstd-3 as long as no more intervals wait than a scan keeps and time is short") {
        level_policy p;
        for (const std::size_t waiting : {0U, 1U, 2U, 3U, 0U}) {
            CHECK(at(p, waiting, middling) == 3);
        }
    }

    TEST_CASE("level: an encoder that is late lowers it; it rises when nothing waits") {
        level_policy p;
        CHECK(at(p, 4, 1) == 1);
        CHECK(at(p, 9, 1) == 1);
        CHECK(at(p, 2, 1) == 1); // still catching up
        CHECK(at(p, 0, 1) == 3);
        CHECK(at(p, 0, 1) == 3);
    }

    TEST_CASE("level: dense while the encoder idles, as long as there is time for it") {
        level_policy p;
        CHECK(at(p, 1, idle) == 3); // something waits
        CHECK(at(p, 0, idle) == dense);
        CHECK(at(p, 3, level_policy::busy_share_max) == dense); // it is slower, that's known
        CHECK(at(p, 0, level_policy::busy_share_max + 0.01) == 3);
    }

    TEST_CASE("level: from dense an encoder that is late goes to the quickest at once") {
        level_policy p;
        REQUIRE(at(p, 0, idle) == dense);
        CHECK(at(p, 4, idle) == 1);
        CHECK(at(p, 0, idle) == 3);
    }

    /// Idle intervals until dense is used again.
    std::uint32_t rest_after_falling(level_policy & p) {
        REQUIRE(at(p, 0, level_policy::busy_share_max + 0.01) == 3);
        std::uint32_t rest = 1;
        while (at(p, 0, idle) != dense) {
            REQUIRE(++rest <= level_policy::rest_max);
        }
        return rest;
    }

    TEST_CASE("level: dense that took too long is not tried again for long, and longer each time") {
        level_policy p;
        REQUIRE(at(p, 0, idle) == dense);
        for (std::uint32_t rest = level_policy::rest_min; rest <= level_policy::rest_max;
             rest *= 2) {
            CHECK(rest_after_falling(p) == rest);
        }
        CHECK(rest_after_falling(p) == level_policy::rest_max);
        for (std::size_t i = 0; i < level_policy::steady; ++i) {
            REQUIRE(at(p, 0, idle) == dense);
        }
        CHECK(rest_after_falling(p) == level_policy::rest_min);
    }

    TEST_CASE("level: writes that wait too long count as late, however few intervals they are in") {
        level_policy p;
        REQUIRE(at(p, 0, idle) == dense);
        CHECK(p.next({.late_by = level_policy::late_time, .busy = idle}) == dense);
        CHECK(p.next({.late_by = level_policy::late_time + std::chrono::milliseconds(1),
                      .busy = idle}) == 1);
    }

    TEST_CASE("level: a catch-up, large intervals and bursts are never dense") {
        level_policy p;
        const encoder_load catching_up{.busy = idle, .in_sync = false};
        const encoder_load large{.busy = idle,
                                 .bytes = level_policy::dense_bytes_max + 1,
                                 .age = std::chrono::seconds(2)};
        const encoder_load burst{
            .busy = idle, .bytes = 16 * limits::MiB, .age = std::chrono::milliseconds(200)};
        CHECK(p.next(catching_up) == 3);
        CHECK(p.next(large) == 3);
        CHECK(p.next(burst) == 1);
        REQUIRE(at(p, 0, idle) == dense);
        CHECK(p.next(catching_up) == 3);
        CHECK(p.next(large) == 3);
        CHECK(p.next(burst) == 1);
        CHECK(at(p, 0, idle) == dense); // no rest for that
        // A catch-up's intervals may be old: its writers do not wait for it.
        CHECK(p.next({.late_by = std::chrono::minutes(1), .busy = idle, .in_sync = false}) == 3);
    }

    constexpr std::uint64_t memory = 160 * limits::MiB;
    constexpr std::uint64_t part(double share) {
        return static_cast<std::uint64_t>(share * static_cast<double>(memory));
    }

    TEST_CASE("level: nothing is searched when memory would fill up meanwhile") {
        constexpr int quick = dedupe::encoder_options::quick;
        level_policy p;
        const encoder_load calm{
            .busy = idle, .bytes = 8 * limits::MiB, .memory_used = part(0.2), .memory_max = memory};
        encoder_load fast = calm;
        fast.bytes = 32 * limits::MiB;
        fast.age =
            std::chrono::milliseconds(200); // 160 MiB/s: 51 MiB come while 32 MiB are searched
        CHECK(p.next(fast) == quick);
        fast.memory_used = part(0.1);
        CHECK(p.next(fast) == 1);
        p.took(1, fast.bytes, std::chrono::milliseconds(640)); // half as quick as was thought
        CHECK(p.next(fast) == quick);
        for (int i = 0; i < 100; ++i) { // tried again some time
            p.took(quick, fast.bytes, std::chrono::milliseconds(60));
        }
        CHECK(p.next(fast) == 1);
        CHECK(p.next(calm) == dense);
    }

    TEST_CASE("level: dense that takes too long for the memory that is left is not used") {
        level_policy p;
        const encoder_load load{.busy = idle,
                                .bytes = 40 * limits::MiB,
                                .memory_used = part(0.2),
                                .memory_max = memory};
        REQUIRE(p.next(load) == dense);
        p.took(dense, load.bytes, std::chrono::seconds(4));
        CHECK(p.next(load) == 3);
        for (int i = 0; i < 100; ++i) {
            p.took(3, load.bytes, std::chrono::milliseconds(400));
        }
        CHECK(p.next(load) == dense);
    }

    TEST_CASE("level: a scan fills memory itself, as far as it may") {
        level_policy p;
        encoder_load load{
            .in_sync = false, .memory_used = part(level_policy::scan_crowd), .memory_max = memory};
        CHECK(p.next(load) == 3);
        CHECK_FALSE(level_policy::urgent(load));
        load.memory_used += limits::MiB;
        CHECK(p.next(load) == dedupe::encoder_options::quick);
        CHECK(level_policy::urgent(load));
    }

    TEST_CASE("priority: clients come first until writes wait too long or memory fills") {
        CHECK_FALSE(level_policy::urgent({.waiting = level_policy::late_intervals - 1,
                                          .late_by = level_policy::late_time,
                                          .memory_used = part(level_policy::urgent_crowd),
                                          .memory_max = memory}));
        CHECK(level_policy::urgent({.waiting = level_policy::late_intervals}));
        CHECK(level_policy::urgent(
            {.late_by = level_policy::late_time + std::chrono::milliseconds(1)}));
        CHECK(level_policy::urgent(
            {.memory_used = part(level_policy::urgent_crowd) + limits::MiB, .memory_max = memory}));
        CHECK(level_policy::urgent(
            {.bytes = 16 * limits::MiB, .age = std::chrono::milliseconds(200)}));
        // In a catch-up the scan keeps the encoder busy; how long writes and people wait counts
        // there too.
        CHECK_FALSE(
            level_policy::urgent({.waiting = level_policy::late_intervals, .in_sync = false}));
        for (const bool in_sync : {true, false}) {
            CHECK(level_policy::urgent(
                {.late_by = level_policy::late_time + std::chrono::milliseconds(1),
                 .in_sync = in_sync}));
            CHECK(level_policy::urgent({.in_sync = in_sync, .awaited = true}));
            CHECK_FALSE(level_policy::urgent({.in_sync = in_sync}));
        }
    }

    TEST_CASE("priority: a flood that no encoder can follow is not fought against") {
        encoder_load load{.waiting = level_policy::late_intervals,
                          .bytes = 16 * limits::MiB,
                          .age = std::chrono::milliseconds(300),
                          .filled_in = std::chrono::milliseconds(20),
                          .memory_used = part(0.9),
                          .memory_max = memory};
        CHECK_FALSE(level_policy::urgent(load));
        load.filled_in = std::chrono::milliseconds(40);
        CHECK(level_policy::urgent(load));
        load.filled_in = std::chrono::milliseconds(20);
        load.awaited = true;
        CHECK(level_policy::urgent(load));
        load.awaited = false;
        load.late_by = level_policy::late_time + std::chrono::milliseconds(1);
        CHECK(level_policy::urgent(load));
        load.late_by = {};
        load.bytes = level_policy::flood_bytes_min - 1;
        load.filled_in = std::chrono::milliseconds(1);
        CHECK(level_policy::urgent(load)); // says nothing about what comes
    }

    TEST_CASE("level: the busy share begins as busy and forgets in seconds") {
        busy_share busy;
        CHECK(busy.value() == 1);
        time_point now{std::chrono::hours(1)};
        const auto encode = [&](duration takes, duration every) {
            busy.add(now + every - takes, now + every);
            now += every;
            return busy.value();
        };
        for (int i = 0; i < 100; ++i) { // back to back, as in a first copy
            CHECK(encode(std::chrono::milliseconds(50), std::chrono::milliseconds(50)) == 1);
        }
        for (int i = 0; i < 10; ++i) {
            encode(std::chrono::milliseconds(100), std::chrono::seconds(1));
        }
        CHECK(busy.value() < 0.2);
        CHECK(busy.value() > 0.1);
        encode(std::chrono::milliseconds(50), std::chrono::minutes(1)); // clients paused
        CHECK(busy.value() < 0.01);
    }
}

} // namespace farshore
