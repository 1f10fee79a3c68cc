#include "replicator/base/geometry.hpp"
#include "replicator/base/types.hpp"
#include "replicator/capture/paged_bitmap.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

using namespace farshore;

namespace {

constexpr std::uint64_t page = paged_bitmap::bits_per_page;

/// A plain set, by one bool a bit.
struct plain_set {
    explicit plain_set(std::uint64_t bits) : in(bits) {}
    void put(std::uint64_t first, std::uint64_t last, bool value) {
        std::fill(in.begin() + static_cast<std::ptrdiff_t>(first),
                  in.begin() + static_cast<std::ptrdiff_t>(last), value);
    }
    std::uint64_t next(std::uint64_t from, std::uint64_t limit, bool value) const {
        while (from < limit && in[from] != value) {
            ++from;
        }
        return from;
    }
    std::vector<bool> in;
};

/// Ranges as they come in life: whole pages, rims of pages, words, single bits.
std::pair<std::uint64_t, std::uint64_t> pick_range(std::mt19937_64 &dice, std::uint64_t bits) {
    const auto place = [&] {
        const std::uint64_t unit = std::vector<std::uint64_t>{page, page, 64, 1}[dice() % 4];
        return std::min(bits, dice() % (bits / unit + 2) * unit);
    };
    const std::uint64_t a = place();
    const std::uint64_t b = place();
    return {std::min(a, b), std::max(a, b)};
}

} // namespace

TEST_SUITE_BEGIN("capture");

TEST_CASE("paged bitmap: with full and empty pages it is the same set as a plain one") {
    constexpr std::uint64_t bits = 3 * page + 777;
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 dice(seed);
        paged_bitmap a(bits);
        paged_bitmap b(bits);
        plain_set model_a(bits);
        plain_set model_b(bits);
        for (int i = 0; i < 30; ++i) {
            const auto [first, last] = pick_range(dice, bits);
            const bool value = dice() % 2 == 0;
            value ? a.set_range(first, last) : a.clear_range(first, last);
            model_a.put(first, last, value);
            const auto [from, to] = pick_range(dice, bits);
            b.add_from(a, from, to);
            for (std::uint64_t at = from; at < to; ++at) {
                model_b.in[at] = model_b.in[at] || model_a.in[at];
            }
            if (dice() % 8 == 0) {
                b.clear_range(from, to);
                model_b.put(from, to, false);
            }
            const auto [look, limit] = pick_range(dice, bits);
            const std::uint64_t set = model_b.next(look, limit, true);
            CHECK(b.next_set(look, limit) == (set == limit ? std::nullopt : std::optional(set)));
            CHECK(b.next_clear(look, limit) == model_b.next(look, limit, false));
            CHECK(b.any_in(look, limit) == (set != limit));
            CHECK(b.all_in(look, limit) == (model_b.next(look, limit, false) == limit));
        }
        CHECK(a.count() == static_cast<std::uint64_t>(std::ranges::count(model_a.in, true)));
        CHECK(b.count() == static_cast<std::uint64_t>(std::ranges::count(model_b.in, true)));
        for (std::uint64_t at = 0; at < bits; at += 61) {
            REQUIRE(a.test(at) == model_a.in[at]);
            REQUIRE(b.test(at) == model_b.in[at]);
        }
    }
}

TEST_CASE("paged bitmap: all of a volume of 64 TiB costs what nothing of it costs") {
    constexpr std::uint64_t regions = 64ULL << 40 >> 16;
    paged_bitmap bits(regions);
    const std::uint64_t empty = bits.memory_bytes();
    CHECK(empty <= 256 * 1024);
    bits.set_range(0, regions);
    CHECK(bits.count() == regions);
    CHECK(bits.memory_bytes() == empty);
    CHECK(bits.next_clear(5, regions) == regions);
    bits.clear_word(1000, 1);
    CHECK(bits.memory_bytes() < empty + 8192);
    CHECK(bits.next_clear(0, regions) == 64000);
    bits.set_word(1000, 1);
    CHECK(bits.memory_bytes() == empty);
}

TEST_SUITE_END();
