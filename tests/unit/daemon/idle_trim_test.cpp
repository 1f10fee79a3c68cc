#include "replicator/daemon/idle_trim.hpp"

#include <doctest/doctest.h>

namespace farshore {

TEST_SUITE("idle_trim") {
    TEST_CASE("idle is told once after work, and again only after more work") {
        using namespace std::chrono_literals;
        idle_detector d;
        time_point now{};
        duration cpu{};
        const auto after = [&](duration used) {
            now += 5s;
            cpu += used;
            return d.became_idle(now, cpu);
        };
        CHECK(!after(1s)); // the first sample has nothing to compare with
        CHECK(!after(200ms));
        CHECK(!after(100ms)); // 2 % exactly still counts as work
        CHECK(after(99ms));
        CHECK(!after(0ms));
        CHECK(!after(0ms));
        CHECK(!after(3s));
        CHECK(after(1ms));
    }
}

} // namespace farshore
