// The time by which points grow too old, when clocks can't be trusted.

#include "replicator/replica/retention.hpp"
#include "replicator/replica/retention_clock.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

namespace farshore {
namespace {

using namespace std::chrono_literals;

const time_point boot{1000h};
const wall_time noon{500'000h};

} // namespace

TEST_SUITE("replica") {
    TEST_CASE("retention clock: it follows a wall clock that goes as time does") {
        retention_clock c;
        for (int s = 0; s < 100; s += 10) {
            CHECK(c.advance(boot + s * 1s, noon + s * 1s, noon, std::nullopt) == noon + s * 1s);
        }
    }

    TEST_CASE("retention clock: a jump ahead moves it by the time that passed, a jump back takes "
              "it along") {
        retention_clock c;
        CHECK(c.advance(boot, noon, noon, std::nullopt) == noon);
        CHECK(c.advance(boot + 10s, noon + 30 * 24h, noon, std::nullopt) == noon + 10s);
        CHECK(c.advance(boot + 20s, noon + 30 * 24h, noon, std::nullopt) == noon + 20s);
        CHECK(c.advance(boot + 30s, noon + 30s, noon, std::nullopt) == noon + 30s);
        CHECK(c.advance(boot + 40s, noon - 2h, noon, std::nullopt) == noon - 2h);
        CHECK(c.advance(boot + 50s, noon + 50s, noon, std::nullopt) == noon - 2h + 10s);
        CHECK(c.advance(boot + 50s, noon + 50s, noon, std::nullopt) == noon - 2h + 10s);
    }

    TEST_CASE("retention clock: a life begins where the newest point is, until the other site's "
              "clock agrees") {
        retention_clock alone;
        CHECK(alone.advance(boot, noon + 24h, noon, std::nullopt) == noon);
        CHECK(alone.advance(boot + 1h, noon + 25h, noon, std::nullopt) == noon + 1h);
        CHECK(alone.advance(boot + 1h, noon + 25h, noon, 3min) == noon + 1h);
        CHECK(alone.advance(boot + 1h, noon + 25h, noon, 1s) == noon + 25h);
        // Once: from here on both may be set wrong together.
        CHECK(alone.advance(boot + 1h + 10s, noon + 1000h, noon, 1s) == noon + 25h + 10s);
        retention_clock empty;
        CHECK(empty.advance(boot, noon, std::nullopt, std::nullopt) == noon);
        retention_clock ahead; // the newest point has a time that this clock has not reached
        CHECK(ahead.advance(boot, noon, noon + 1h, std::nullopt) == noon);
    }

    TEST_CASE("retention clock: a wall clock that is set right makes no point of this life old") {
        retention_clock c;
        CHECK(c.advance(boot, noon - 2h, std::nullopt, 2h) ==
              noon - 2h); // two hours behind; the first arrival is stamped
        c.stamped();
        CHECK(c.advance(boot + 10s, noon + 10s, noon - 2h, 0s) == noon - 2h + 10s);
        const spacing_rule rule{0s, 1h};
        // Of an earlier life: stamped when this clock was behind, named by one that was right.
        const std::vector<kept_candidate> points{{interval_id{1}, noon, false, noon - 2h},
                                                 {interval_id{2}, noon + 1s, false, noon + 1s}};
        CHECK(points_to_keep(points, {&rule, 1}, noon + 30min) == std::vector<bool>{true, true});
        // A name that is still to come keeps nothing.
        const std::vector<kept_candidate> ahead{{interval_id{1}, noon + 24h, false, noon - 2h},
                                                {interval_id{2}, noon + 25h, false, noon}};
        CHECK(points_to_keep(ahead, {&rule, 1}, noon + 30min) == std::vector<bool>{false, true});
    }

    TEST_CASE("retention: a clock that is a month ahead for 35 seconds drops nothing wrongly") {
        const spacing_rule rules[] = {{0s, 1h}, {1min, 24h}, {1h, 7 * 24h}};
        std::vector<kept_candidate> points;
        for (int m = 0; m < 7 * 24 * 60; ++m) {
            points.push_back({interval_id{static_cast<std::uint64_t>(m + 1)}, noon + m * 1min,
                              false, noon + m * 1min});
        }
        const wall_time now = points.back().time;
        const auto before = points_to_keep(points, rules, now);
        retention_clock c;
        (void)c.advance(boot, now, points.back().time, std::nullopt);
        std::vector<bool> after;
        for (int run = 1; run <= 3; ++run) {
            after = points_to_keep(
                points, rules,
                c.advance(boot + run * 10s, now + 30 * 24h, points.back().time, std::nullopt));
        }
        CHECK(std::ranges::count(before, true) - std::ranges::count(after, true) <=
              2); // 30 s passed
        CHECK(std::ranges::count(points_to_keep(points, rules, now + 30 * 24h), true) == 1);
    }

    TEST_CASE("retention: sites two hours apart lose nothing, and a backlog that arrives at once "
              "keeps its spread") {
        const spacing_rule rules[] = {{0s, 1h}, {1min, 24h}};
        std::vector<kept_candidate> points;
        for (int s = 0; s < 600; ++s) {
            points.push_back({interval_id{static_cast<std::uint64_t>(s + 1)}, noon + s * 1s, false,
                              noon + 2h + s * 1s});
        }
        CHECK(std::ranges::count(points_to_keep(points, rules, noon + 2h + 600s), true) == 600);
        for (auto &p : points) {
            p.arrival = noon + 5h; // all of it in one second
        }
        CHECK(std::ranges::count(points_to_keep(points, rules, noon + 5h + 59min), true) == 600);
        CHECK(std::ranges::count(points_to_keep(points, rules, noon + 7h), true) >= 10);
    }

    TEST_CASE("retention: whatever a wall clock does, between two runs no point grows older than "
              "the time that passed") {
        for (unsigned seed = 1; seed <= 200; ++seed) {
            CAPTURE(seed);
            std::mt19937 dice(seed);
            const auto roll = [&](std::int64_t n) {
                return static_cast<std::int64_t>(dice() % static_cast<unsigned>(n));
            };
            retention_clock c;
            wall_time offset = noon;
            time_point now = boot;
            std::optional<wall_time> last;
            for (int step = 0; step < 200; ++step) {
                const duration passed = std::chrono::seconds(roll(60));
                now += passed;
                if (roll(10) == 0) {
                    offset += std::chrono::seconds(roll(10'000'000) - 5'000'000);
                }
                const wall_time wall = offset + (now - boot);
                const wall_time at = c.advance(now, wall, noon, std::nullopt);
                CHECK(at <= wall);
                if (last) {
                    CHECK(at <= *last + passed);
                }
                last = at;
            }
        }
    }
}

} // namespace farshore
