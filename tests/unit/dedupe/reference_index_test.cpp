// What is put into the index of places, and how it is found again.

#include "dedupe/anchors.hpp"
#include "dedupe/reference_index.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::codec_test;

TEST_SUITE("dedupe") {
    TEST_CASE("anchors: the same bytes have the same anchors wherever they stand") {
        byte_vector bytes;
        for (std::uint64_t s = 0; s < 4; ++s) {
            append_bytes(bytes, letters(s));
        }
        std::vector<dedupe::anchor> all;
        dedupe::find_anchors(bytes, 0, dedupe::anchor_bits, all);
        CHECK(all.size() > 16384 / 32 / 2);
        CHECK(all.size() < 16384 / 32 * 2);
        std::vector<dedupe::anchor> part;
        dedupe::find_anchors(bytes_view(bytes).subspan(100, 5000), 100, dedupe::anchor_bits, part);
        std::size_t shared = 0;
        for (const auto &a : part) {
            shared += static_cast<std::size_t>(std::ranges::any_of(
                all, [&](const auto &b) { return b.at == a.at && b.key == a.key; }));
        }
        CHECK(shared == part.size());
        CHECK(part.size() >= 100);
    }

    TEST_CASE("anchors: sparse ones are among the others") {
        byte_vector bytes;
        for (std::uint64_t s = 0; s < 32; ++s) {
            append_bytes(bytes, noise(s));
        }
        std::vector<dedupe::anchor> all;
        std::vector<dedupe::anchor> sparse;
        dedupe::find_anchors(bytes, 0, dedupe::anchor_bits, all);
        dedupe::find_anchors(bytes, 0, dedupe::sparse_anchor_bits, sparse);
        CHECK(sparse.size() > bytes.size() / 512 * 3 / 4);
        CHECK(sparse.size() < bytes.size() / 512 * 4 / 3);
        CHECK(std::ranges::all_of(sparse, [&](const auto &s) {
            return std::ranges::any_of(
                all, [&](const auto &a) { return a.at == s.at && a.key == s.key; });
        }));
    }

    TEST_CASE("anchors: a run of one value has none") {
        for (int value = 0; value < 256; ++value) {
            std::vector<dedupe::anchor> anchors;
            dedupe::find_anchors(filled(value), 0, dedupe::anchor_bits, anchors);
            CHECK(anchors.empty());
        }
    }

    TEST_CASE("anchors: random content is told from text, tables and constant bytes") {
        for (std::uint64_t s = 0; s < 200; ++s) {
            CHECK(dedupe::looks_random(noise(s)));
            CHECK_FALSE(dedupe::looks_random(letters(s)));
        }
        CHECK_FALSE(dedupe::looks_random(filled(0)));
    }

    TEST_CASE("index: keeps the newest of a crowded bucket, newest first") {
        dedupe::reference_index index(64); // one bucket
        for (std::uint64_t i = 0; i < 20; ++i) {
            index.put(7ULL << 48, i);
        }
        std::array<std::uint64_t, 2> places{};
        REQUIRE(index.find(7ULL << 48, places) == places.size());
        CHECK(places == std::array<std::uint64_t, 2>{19, 18});
        index.put(7ULL << 48, 17); // seen again
        REQUIRE(index.find(7ULL << 48, places) == places.size());
        CHECK(places[0] == 17);
        CHECK(places[1] == 19);
        CHECK(index.find(8ULL << 48, places) == 0);
    }

    TEST_CASE("index: a whole block outlives anchors, but not many whole blocks") {
        dedupe::reference_index index(64);
        const auto known = [&index](std::uint64_t key) {
            std::array<std::uint64_t, 1> places{};
            return index.find(key << 48, places) > 0;
        };
        index.put(1ULL << 48, 5 * block_bytes);
        for (std::uint64_t i = 0; i < 100; ++i) {
            index.put((100 + i) << 48, 7 * block_bytes + 1 + i);
            CHECK(known(100 + i));
        }
        CHECK(known(1));
        for (std::uint64_t i = 0; i < 8; ++i) {
            index.put((10 + i) << 48, (20 + i) * block_bytes);
            CHECK(known(10 + i));
        }
        CHECK_FALSE(known(1));
    }
}
