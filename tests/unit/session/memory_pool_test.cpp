#include "replicator/session/fair_grants.hpp"
#include "replicator/session/group_memory.hpp"
#include "replicator/session/memory_pool.hpp"

#include <doctest/doctest.h>

#include <numeric>
#include <random>

namespace farshore {
namespace {

using limits::MiB;

std::uint64_t sum_of(const std::vector<std::uint64_t> &v) {
    return std::accumulate(v.begin(), v.end(), std::uint64_t{0});
}

} // namespace

TEST_SUITE("memory pool") {
    TEST_CASE("fair grants: who wants little gets it, the others share the rest alike") {
        CHECK(fair_grants(100, 5, {{0, 10}, {0, 1000}, {0, 1000}}) ==
              std::vector<std::uint64_t>{10, 45, 45});
        CHECK(fair_grants(100, 5, {{0, 0}, {0, 1000}, {0, 0}}) ==
              std::vector<std::uint64_t>{5, 90, 5});
        CHECK(fair_grants(100, 5, {{0, 30}, {0, 20}}) == std::vector<std::uint64_t>{30, 20});
    }

    TEST_CASE("fair grants: what is in use is not taken back, the others share what is left") {
        CHECK(fair_grants(100, 5, {{60, 1000}, {0, 1000}, {0, 1000}}) ==
              std::vector<std::uint64_t>{60, 20, 20});
        CHECK(fair_grants(100, 5, {{95, 0}, {0, 1000}}) == std::vector<std::uint64_t>{95, 5});
    }

    TEST_CASE("fair grants: of any claims the sum fits, nobody is below floor or use, and only who "
              "has the level or his wish is above them") {
        std::mt19937_64 chance(1);
        for (int run = 0; run < 2000; ++run) {
            const std::size_t groups = 1 + chance() % 20;
            const std::uint64_t floor = chance() % 50;
            const std::uint64_t total = floor * groups + chance() % 5000;
            std::uint64_t left = total - floor * groups;
            std::vector<memory_claim> claims;
            for (std::size_t i = 0; i < groups; ++i) {
                const std::uint64_t beyond = chance() % 3 == 0 && left > 0 ? chance() % left : 0;
                left -= beyond;
                claims.push_back({floor + beyond, chance() % 4 == 0 ? total : chance() % 600});
            }
            const std::vector<std::uint64_t> grants = fair_grants(total, floor, claims);
            CAPTURE(run);
            REQUIRE(sum_of(grants) <= total);
            std::uint64_t level = 0; // of those who got less than they want
            for (std::size_t i = 0; i < groups; ++i) {
                REQUIRE(grants[i] >= std::max(floor, claims[i].held));
                REQUIRE(grants[i] <= std::max({floor, claims[i].held, claims[i].wanted}));
                if (grants[i] < claims[i].wanted && grants[i] > claims[i].held) {
                    level = std::max(level, grants[i]);
                }
            }
            for (std::size_t i = 0; i < groups; ++i) { // max-min: nobody unsatisfied is below it
                REQUIRE((grants[i] >= claims[i].wanted || grants[i] >= level));
            }
        }
    }

    TEST_CASE("memory pool: a group that is alone has all of it") {
        memory_pool pool(100 * MiB, 1);
        CHECK(pool.grant(0) == 100 * MiB);
        CHECK(pool.ample_total() == 100 * MiB);
        CHECK(pool.grow(0, 200 * MiB) == 100 * MiB);
    }

    TEST_CASE("memory pool: a grant grows by leaps up to nearly all that the others leave") {
        memory_pool pool(352 * MiB, 100);
        CHECK(pool.floor() >= memory_pool::floor_min);
        CHECK(pool.grant(7) == pool.floor());
        CHECK(pool.grow(7, 0) == pool.floor() * memory_pool::leap);
        for (int i = 0; i < 8; ++i) {
            pool.grow(7, 0);
        }
        CHECK(pool.grant(7) > 200 * MiB);
        CHECK(pool.given() <= pool.ample_total());
    }

    TEST_CASE("memory pool: beside one that took all it could, others still leap from the floor") {
        memory_pool pool(352 * MiB, 100);
        for (int i = 0; i < 8; ++i) {
            pool.grow(0, 0);
        }
        CHECK(pool.grow(1, 0) == pool.floor() * memory_pool::leap);
        CHECK(pool.grow(1, 20 * MiB) >= 20 * MiB);
        CHECK(pool.grow(2, 0) == pool.floor() * memory_pool::leap);
    }

    TEST_CASE("memory pool: says once that somebody is short, until it is asked who") {
        memory_pool pool(352 * MiB, 100);
        int said = 0;
        pool.set_short([&] { ++said; });
        pool.grow(3, 0);
        CHECK(said == 0);
        pool.grow(3, 400 * MiB);
        pool.grow(3, 400 * MiB);
        CHECK(said == 1);
        CHECK(pool.asked(3) == 400 * MiB);
        CHECK(pool.asked(3) == 0);
        pool.grow(3, 400 * MiB);
        CHECK(said == 2);
    }

    TEST_CASE(
        "memory pool: of any growing and settling the sum fits and the floor is always there") {
        std::mt19937_64 chance(2);
        for (int run = 0; run < 200; ++run) {
            const std::size_t groups = 1 + chance() % 256;
            const std::uint64_t total = (2 + chance() % 600) * MiB;
            memory_pool pool(total, groups);
            CAPTURE(run);
            for (int step = 0; step < 300; ++step) {
                const std::size_t g = chance() % groups;
                const std::uint64_t bytes = chance() % (2 * total);
                const std::uint64_t before = pool.grant(g);
                if (chance() % 3 != 0) {
                    REQUIRE(pool.grow(g, bytes) >= before);
                } else {
                    REQUIRE(pool.settle(g, bytes) >= pool.floor());
                }
                REQUIRE(pool.given() <= total);
                REQUIRE(pool.grant(g) >= pool.floor());
            }
        }
    }

    TEST_CASE("stage memory: at any grant an interval is closed well before it overflows, and the "
              "parts stay within it") {
        for (std::uint64_t grant = memory_pool::floor_min; grant < 2048 * MiB; grant += grant / 7) {
            const stage_memory m = stage_memory_of(grant);
            CAPTURE(grant);
            CHECK(m.interval_bytes * 6 <= m.open_bytes_max);
            CHECK(m.interval_bytes <= interval_bytes_max);
            // Half of what is closed may wait when another interval is closed.
            CHECK(2 * m.open_bytes_max + m.closed_bytes_max / 2 + m.spool_bytes_max <=
                  grant + grant / 16);
            CHECK(open_bytes_of(grant_for_open(m.open_bytes_max)) >= m.open_bytes_max);
        }
        const std::uint64_t alone = 448 * MiB - 3 * (448 * MiB / 16);
        CHECK(stage_memory_of(alone).open_bytes_max == alone / 7 * 2);
        CHECK(stage_memory_of(alone).interval_bytes == interval_bytes_max);
        CHECK(stage_memory_of(alone).spool_bytes_max == alone / 7);
    }

    TEST_CASE("stage memory: at the smallest floor a chunk of pages fits, and who needs no more "
              "does not ask") {
        CHECK(stage_memory_of(memory_pool::floor_min).open_bytes_max > open_bytes_little);
        CHECK(open_bytes_little > 256 * limits::KiB + 16 * limits::KiB);
        CHECK(memory_pool::floor_of(memory_min_of(256, 256) / 8 * 7 / 32 * 31 / 16 * 13, 256) >=
              memory_pool::floor_min);
    }
}

} // namespace farshore
