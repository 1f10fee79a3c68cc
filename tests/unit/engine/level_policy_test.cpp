#include "replicator/engine/level_policy.hpp"

#include <doctest/doctest.h>

namespace farshore::engine {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t much = 8 << 20;
constexpr level_policy::load calm{milliseconds(50), milliseconds(1000), 3, 2, much};
constexpr level_policy::load line_bound{milliseconds(50), milliseconds(1000), 0, 3, much};
constexpr level_policy::load small_writes{milliseconds(50), milliseconds(1000), 0, 9, 4096};
constexpr level_policy::load half_busy{milliseconds(600), milliseconds(1000), 0, 3, much};
constexpr level_policy::load too_busy{milliseconds(800), milliseconds(1000), 0, 3, much};
constexpr level_policy::load late{milliseconds(900), milliseconds(1000), 4, 0, 0};
constexpr level_policy::load both_late{milliseconds(900), milliseconds(1000), 4, 3, much};

} // namespace

TEST_SUITE("engine") {
TEST_CASE("level: the usual one as long as neither line nor processor is short") {
    level_policy p;
    for (int i = 0; i < 5; ++i) {
        CHECK(p.next(calm) == 6);
        CHECK(p.next(small_writes) == 6);
    }
}

TEST_CASE("level: a backlog on the line raises it while the processor has time, and no further") {
    level_policy p;
    CHECK(p.next(half_busy) == 6);
    CHECK(p.next(line_bound) == 12);
    CHECK(p.next(line_bound) == 12);
    CHECK(p.next(half_busy) == 12);
    CHECK(p.next(too_busy) == 6);
    CHECK(p.next(line_bound) == 12);
    CHECK(p.next(calm) == 6);
    CHECK(p.next(calm) == 6);
}

TEST_CASE("level: an encoder that is late lowers it, below the usual one only if the line keeps up") {
    level_policy p;
    CHECK(p.next(line_bound) == 12);
    CHECK(p.next(both_late) == 6);
    CHECK(p.next(both_late) == 6);
    CHECK(p.next(late) == 3);
    CHECK(p.next(late) == 1);
    CHECK(p.next(late) == 1);
    CHECK(p.next(calm) == 3);
    CHECK(p.next(calm) == 6);
}
}

} // namespace farshore::engine
