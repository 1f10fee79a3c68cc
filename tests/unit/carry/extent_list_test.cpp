#include "replicator/carry/extent_list.hpp"

#include <doctest/doctest.h>

namespace farshore::carry {

TEST_SUITE("carry_extents") {
    TEST_CASE("neighbours become one, empty ones none") {
        extent_list list;
        list.add({0, 10});
        list.add({10, 5});
        list.add({20, 0});
        list.add({20, 1});
        CHECK(list.ranges() == std::vector<byte_range>{{0, 15}, {20, 1}});
        CHECK(list.bytes() == 16);
    }

    TEST_CASE("beyond its bound the smallest gaps count as data, and nothing is lost") {
        constexpr std::size_t max = 8;
        extent_list list(max);
        std::vector<byte_range> all;
        std::uint64_t at = 0;
        for (std::uint64_t i = 0; i < 200; ++i) {
            all.push_back({at, 4});
            list.add(all.back());
            at += 4 + (i % 20 == 19 ? 1000 : 4);
            CHECK(list.ranges().size() <= max);
        }
        for (const byte_range &r : all) {
            bool inside = false;
            for (const byte_range &l : list.ranges()) {
                inside =
                    inside || (l.offset <= r.offset && r.offset + r.length <= l.offset + l.length);
            }
            CHECK(inside);
        }
        for (std::size_t i = 1; i < list.ranges().size(); ++i) {
            const byte_range &before = list.ranges()[i - 1];
            CHECK(before.offset + before.length < list.ranges()[i].offset);
        }
    }
}

} // namespace farshore::carry
