#include "replicator/capture/range_lock.hpp"

#include <doctest/doctest.h>

using namespace farshore;

TEST_CASE("range lock: disjoint ranges go on side by side, overlapping ones in order of arrival") {
    range_table table;
    const auto a = table.try_enter({0, 4});
    REQUIRE(a);
    const auto neighbour = table.try_enter({4, 5});
    REQUIRE(neighbour);
    CHECK(!table.try_enter({3, 6}));
    const auto b = table.enqueue({2, 8});
    const auto c = table.enqueue({7, 9});
    CHECK(!table.granted(b));
    CHECK(!table.granted(c)); // behind b, though nobody holds its blocks
    CHECK(!table.try_enter({8, 9}));
    table.leave(*a);
    CHECK(!table.granted(b)); // 4 is still held
    table.leave(*neighbour);
    CHECK(table.granted(b));
    CHECK(!table.granted(c));
    table.leave(b);
    CHECK(table.granted(c));
    table.leave(c);
    CHECK(table.entries().empty());
}
