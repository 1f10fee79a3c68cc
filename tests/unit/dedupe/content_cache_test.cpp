// Contents that the encoder keeps.

#include "dedupe/content_cache.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::codec_test;

namespace {

std::optional<page> found(dedupe::content_cache &cache, int volume, std::uint64_t block) {
    page p(block_bytes);
    if (!cache.find(volume_index{static_cast<std::uint16_t>(volume)}, block_index{block}, p)) {
        return std::nullopt;
    }
    return p;
}

} // namespace

TEST_SUITE("dedupe") {
    TEST_CASE("contents: the newest content of a block is found, and of no other") {
        dedupe::content_cache cache(16 * block_bytes);
        CHECK_FALSE(found(cache, 0, 5));
        cache.put({}, block_index{5}, noise(1));
        cache.put({}, block_index{5}, noise(2));
        CHECK(found(cache, 0, 5) == noise(2));
        CHECK_FALSE(found(cache, 1, 5));
        CHECK_FALSE(found(cache, 0, 6));
        cache.clear();
        CHECK_FALSE(found(cache, 0, 5));
    }

    TEST_CASE("contents: of a set the one that was asked for last stays") {
        dedupe::content_cache cache(2 * block_bytes); // one set
        cache.put({}, block_index{1}, noise(1));
        cache.put({}, block_index{2}, noise(2));
        CHECK(found(cache, 0, 1) == noise(1));
        cache.put({}, block_index{3}, noise(3));
        CHECK(found(cache, 0, 1) == noise(1));
        CHECK_FALSE(found(cache, 0, 2));
        CHECK(found(cache, 0, 3) == noise(3));
    }

    TEST_CASE("contents: a range that is zeroed is gone, short or long, and nothing beside it") {
        for (const std::uint64_t count : {3UL, 1000000UL}) {
            dedupe::content_cache cache(4096 * block_bytes);
            for (const std::uint64_t block : {9UL, 10UL, 12UL, 13UL, 10 + count}) {
                cache.put(volume_index{1}, block_index{block}, noise(block));
            }
            cache.put({}, block_index{11}, noise(11));
            cache.drop(volume_index{1}, block_index{10}, count);
            CHECK(found(cache, 1, 9));
            CHECK_FALSE(found(cache, 1, 10));
            CHECK_FALSE(found(cache, 1, 12));
            CHECK(found(cache, 1, 10 + count));
            CHECK(found(cache, 0, 11));
        }
    }

    TEST_CASE("contents: without memory for a set it holds nothing") {
        dedupe::content_cache cache(2 * block_bytes - 1);
        cache.put({}, block_index{1}, noise(1));
        cache.drop({}, block_index{1}, 1);
        CHECK_FALSE(found(cache, 0, 1));
    }
}
