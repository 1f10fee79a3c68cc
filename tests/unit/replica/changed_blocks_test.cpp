#include "replicator/base/geometry.hpp"
#include "replicator/replica/changed_blocks.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>

namespace farshore {
namespace {

/// The changed blocks of a range, by answers of at most `max` extents at a time.
std::set<std::uint64_t> told(const changed_blocks &c, volume_index v, std::uint64_t blocks,
                             std::size_t max) {
    std::set<std::uint64_t> out;
    std::uint64_t at = 0;
    while (at < blocks * block_bytes) {
        const auto answer = c.status(v, {at, blocks * block_bytes - at}, max);
        REQUIRE(!answer.empty());
        REQUIRE(answer.size() <= max);
        for (const status_extent &e : answer) {
            REQUIRE(e.length > 0);
            for (std::uint64_t b = at / block_bytes;
                 e.flags == 1 && b < (at + e.length) / block_bytes; ++b) {
                out.insert(b);
            }
            at += e.length;
        }
    }
    CHECK(at == blocks * block_bytes);
    return out;
}

} // namespace

TEST_SUITE("changed_blocks") {
    TEST_CASE("what was added is told, of each volume its own, in any order and number") {
        std::mt19937 random(7);
        changed_blocks c;
        std::set<std::uint64_t> wanted[2];
        for (int i = 0; i < 500; ++i) {
            const std::uint16_t v = random() % 2;
            const std::uint64_t first = random() % 2000;
            const std::uint64_t count = 1 + random() % 8;
            c.add(volume_index{v}, first, count);
            for (std::uint64_t b = first; b < first + count; ++b) {
                wanted[v].insert(b);
            }
        }
        c.finish();
        for (const std::uint16_t v : {std::uint16_t{0}, std::uint16_t{1}}) {
            for (const std::size_t max : {1, 2, 3, 1000}) {
                CHECK(told(c, volume_index{v}, 3000, max) == wanted[v]);
            }
        }
        CHECK(told(c, volume_index{2}, 10, 5).empty());
    }

    TEST_CASE("a range that begins or ends inside a block is cut there") {
        changed_blocks c;
        c.add(volume_index{0}, 1, 1);
        c.finish();
        const auto answer = c.status(volume_index{0}, {block_bytes + 100, 200}, 10);
        REQUIRE(answer.size() == 1);
        CHECK(answer[0].length == 200);
        CHECK(answer[0].flags == 1);
    }

    TEST_CASE("beyond its bound gaps count as changed, nothing is lost") {
        changed_blocks c(16);
        std::set<std::uint64_t> wanted;
        for (std::uint64_t i = 0; i < 1000; ++i) {
            c.add(volume_index{0}, i * 3, 1);
            wanted.insert(i * 3);
        }
        c.finish();
        CHECK(c.runs() <= 16);
        const auto all = told(c, volume_index{0}, 4000, 7);
        for (const std::uint64_t b : wanted) {
            CHECK(all.contains(b));
        }
    }
}

} // namespace farshore
