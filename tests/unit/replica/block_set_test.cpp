// The set of blocks: against a set of numbers, at the edges of words and chunks, and at its limit.

#include "replicator/base/limits.hpp"
#include "replicator/replica/block_set.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>

namespace farshore {
namespace {

constexpr std::uint64_t chunk = 1 << 15;
const volume_index zero{0};
const volume_index one{1};

bool has(const block_set &set, volume_index volume, std::uint64_t block) {
    return set.look(volume, block, 1).in;
}

TEST_SUITE_BEGIN("replica");

TEST_CASE("block set: equals a set of numbers, and each answer holds exactly as far as it says") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        block_set set(limits::MiB * 8);
        std::set<std::uint64_t> model[2];
        const std::uint64_t space = seed % 2 == 0 ? 300 : 3 * chunk;
        for (int i = 0; i < 60; ++i) {
            const auto v = static_cast<std::uint16_t>(random() % 2);
            const std::uint64_t block = random() % space;
            const std::uint64_t count = 1 + random() % (random() % 4 == 0 ? space / 4 : 5);
            set.add(volume_index{v}, block, count);
            for (std::uint64_t b = block; b < block + count; ++b) {
                model[v].insert(b);
            }
        }
        for (std::uint16_t v = 0; v < 2; ++v) {
            std::uint64_t at = random() % 3;
            while (at < space) {
                const std::uint64_t most = 1 + random() % space;
                const auto run = set.look(volume_index{v}, at, most);
                REQUIRE(run.count > 0);
                REQUIRE(run.count <= most);
                bool same = true;
                for (std::uint64_t b = at; b < at + run.count; ++b) {
                    same = same && model[v].contains(b) == run.in;
                }
                CHECK(same);
                at += run.count;
                CHECK((run.count == most || model[v].contains(at) != run.in));
            }
        }
        set.clear();
        CHECK(set.empty());
        CHECK(set.bytes() == 0);
        CHECK(set.look(zero, 0, space).count == space);
    }
}

TEST_CASE("block set: edges of words and chunks, and volumes side by side") {
    block_set set(limits::MiB);
    set.add(zero, 63, 2);
    set.add(zero, chunk - 1, 2);
    CHECK_FALSE(has(set, zero, 62));
    CHECK(set.look(zero, 63, 100).count == 2);
    CHECK_FALSE(set.look(zero, 65, chunk).in);
    CHECK(set.look(zero, 65, chunk).count == chunk - 1 - 65);
    CHECK(set.look(zero, chunk - 1, 5).in);
    CHECK(set.look(zero, chunk - 1, 5).count == 2);
    CHECK_FALSE(has(set, one, 63));
    set.add(volume_index{1023}, 0, 1);
    CHECK(set.look(zero, chunk + 1, 1ULL << 38).count == 1ULL << 38);
    CHECK(has(set, volume_index{1023}, 0));
}

TEST_CASE("block set: whole chunks take no bitmap, so a volume that changed all over is cheap") {
    block_set set(limits::covered_bytes_max);
    const std::uint64_t blocks = (1ULL << 44) / 4096; // 16 TiB
    set.add(zero, 0, blocks);
    CHECK(set.bytes() < 16 * limits::MiB);
    CHECK(set.look(zero, 0, 2 * blocks).in);
    CHECK(set.look(zero, 0, 2 * blocks).count == blocks);
    block_set grown(limits::covered_bytes_max);
    grown.add(zero, 0, chunk / 2);
    const std::uint64_t half = grown.bytes();
    grown.add(zero, chunk / 2, chunk / 2);
    CHECK(grown.bytes() < half / 4);
    CHECK(grown.look(zero, 0, chunk + 1).count == chunk);
}

TEST_CASE("block set: beyond its memory blocks are left out, what it has stays") {
    block_set set(5 * 4200);
    for (std::uint64_t i = 0; i < 100; ++i) {
        set.add(zero, i * chunk + 7, 1);
    }
    CHECK(set.bytes() <= 5 * 4200);
    std::uint64_t in = 0;
    for (std::uint64_t i = 0; i < 100; ++i) {
        in += has(set, zero, i * chunk + 7) ? 1 : 0;
    }
    CHECK(in == 5);
    set.add(zero, 8, 10); // in a chunk that is there
    CHECK(has(set, zero, 17));
    set.add(one, 0, 1ULL << 38); // a whole petabyte
    CHECK(set.bytes() <= 5 * 4200);
    CHECK(has(set, zero, 7));
    block_set none(0);
    none.add(zero, 0, 1);
    CHECK_FALSE(has(none, zero, 0));
    CHECK(none.empty());
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
