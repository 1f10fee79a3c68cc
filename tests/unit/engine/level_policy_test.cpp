#include "replicator/engine/level_policy.hpp"

#include <doctest/doctest.h>

namespace farshore::engine {

TEST_SUITE("engine") {
TEST_CASE("level: the highest as long as no more intervals wait than a scan keeps") {
    level_policy p;
    for (const std::size_t waiting : {0U, 1U, 2U, 3U, 0U}) {
        CHECK(p.next(waiting) == 3);
    }
}

TEST_CASE("level: an encoder that is late lowers it; it rises when nothing waits") {
    level_policy p;
    CHECK(p.next(4) == 1);
    CHECK(p.next(9) == 1);
    CHECK(p.next(2) == 1); // still catching up
    CHECK(p.next(0) == 3);
    CHECK(p.next(0) == 3);
}
}

} // namespace farshore::engine
