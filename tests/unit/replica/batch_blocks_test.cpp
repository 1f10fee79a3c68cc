// The overlay against a map of blocks.

#include "replicator/base/geometry.hpp"
#include "replicator/replica/batch_blocks.hpp"

#include <doctest/doctest.h>

#include <random>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("replica");

TEST_CASE("overlay: the last put of a block wins, and every look sees it") {
    const buffer contents(64 * block_bytes);
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        overlay over;
        std::map<std::pair<std::uint16_t, std::uint64_t>, const std::byte *> model;
        for (int i = 0; i < 400; ++i) {
            overlay_run run{volume_index{static_cast<std::uint16_t>(random() % 2)}, random() % 60,
                            1 + random() % 12, nullptr};
            if (random() % 3 != 0) {
                run.content = contents.data() + random() % (64 - run.count) * block_bytes;
            }
            over.put(run);
            for (std::uint64_t b = 0; b < run.count; ++b) {
                model[{run.volume.value, run.block + b}] =
                    run.content == nullptr ? nullptr : run.content + b * block_bytes;
            }
        }
        std::map<std::pair<std::uint16_t, std::uint64_t>, const std::byte *> seen;
        std::pair<std::uint16_t, std::uint64_t> before{0, 0};
        for (const overlay_run &run : over.runs()) {
            CHECK((seen.empty() || std::pair(run.volume.value, run.block) >= before));
            for (std::uint64_t b = 0; b < run.count; ++b) {
                seen[{run.volume.value, run.block + b}] =
                    run.content == nullptr ? nullptr : run.content + b * block_bytes;
            }
            before = {run.volume.value, run.block + run.count};
        }
        CHECK(seen == model);
        for (int look = 0; look < 50; ++look) {
            const volume_index v{static_cast<std::uint16_t>(random() % 2)};
            const std::uint64_t first = random() % 70;
            const std::uint64_t count = 1 + random() % 20;
            std::uint64_t found = 0;
            for (const overlay_run &run : over.find(v, first, count)) {
                CHECK(run.block >= first);
                CHECK(run.block + run.count <= first + count);
                for (std::uint64_t b = 0; b < run.count; ++b, ++found) {
                    const auto at = model.find({v.value, run.block + b});
                    REQUIRE(at != model.end());
                    CHECK(at->second ==
                          (run.content == nullptr ? nullptr : run.content + b * block_bytes));
                }
            }
            std::uint64_t expected = 0;
            for (std::uint64_t b = first; b < first + count; ++b) {
                expected += model.contains({v.value, b}) ? 1 : 0;
            }
            CHECK(found == expected);
        }
    }
}

TEST_CASE("overlay: a zeroed petabyte is one run and can be cut anywhere") {
    overlay over;
    const buffer content(block_bytes);
    over.put({volume_index{3}, 0, 1ULL << 38, nullptr});
    over.put({volume_index{3}, 1ULL << 37, 1, content.data()});
    CHECK(over.runs().size() == 3);
    over.put({volume_index{3}, 0, 1ULL << 38, nullptr});
    CHECK(over.runs().size() == 1);
    over.clear();
    CHECK(over.empty());
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
