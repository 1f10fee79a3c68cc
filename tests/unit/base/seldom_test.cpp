#include "replicator/base/seldom.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

/// Turns until it tries.
int turns(seldom &s) {
    int count = 1;
    while (!s.turn()) {
        REQUIRE(++count < 1000);
    }
    return count;
}

TEST_SUITE_BEGIN("base");

TEST_CASE("seldom: tries at each turn until something does not pay") {
    seldom s(2, 16);
    CHECK(turns(s) == 1);
    s.paid();
    CHECK(turns(s) == 1);
}

TEST_CASE("seldom: each miss in a row doubles the turns to the next try, up to the last") {
    seldom s(2, 16);
    for (const int expected : {2, 4, 8, 16, 16}) {
        s.missed();
        CHECK(turns(s) == expected);
    }
}

TEST_CASE("seldom: what paid begins the row anew") {
    seldom s(15, 960);
    s.missed();
    CHECK(turns(s) == 15);
    s.missed();
    CHECK(turns(s) == 30);
    s.paid();
    CHECK(turns(s) == 1);
    s.missed();
    CHECK(turns(s) == 15);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
