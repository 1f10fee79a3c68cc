#pragma once
// A capture group whose disks answer from the page cache, and its first catch-up.

#include "tests/unit/capture/capture_rig.hpp"

#include <doctest/doctest.h>

namespace farshore::test {

inline capture_rig synced_rig(std::vector<std::uint64_t> sizes, std::uint64_t seed = 1) {
    capture_rig rig(seed, std::move(sizes));
    rig.disk.set_cached_percent(100);
    return rig;
}

inline void start(capture_rig &rig) {
    rig.note(rig.open());
    rig.catch_up();
    REQUIRE(rig.problems.empty());
    REQUIRE(rig.dirty_bytes() == 0);
}

} // namespace farshore::test
