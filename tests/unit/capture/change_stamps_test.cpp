#include "replicator/capture/change_stamps.hpp"
#include "tests/support/sanitized.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>

using namespace farshore;

namespace {
constexpr volume_index first{0};
constexpr volume_index second{1};

void change(change_stamps &stamps, volume_index volume, std::uint64_t block, std::uint64_t id) {
    stamps.changed(volume, {block, block + 1}, interval_id{id});
}
} // namespace

TEST_CASE("change stamps: what changed in newer intervals doesn't touch other blocks") {
    change_stamps stamps;
    constexpr std::uint64_t blocks = 1 << 16; // 256 MiB on their way
    for (std::uint64_t b = 0; b < blocks; ++b) {
        change(stamps, second, b, 10 + b / 4096);
    }
    int wrong = 0;
    for (std::uint64_t b = 0; b < 4 * blocks; ++b) {
        wrong += stamps.changed_since(first, b, interval_id{9}) ? 1 : 0;
    }
    CHECK(wrong == 0);
    CHECK(stamps.changed_since(second, blocks - 1, interval_id{9}));
    CHECK(stamps.changed_since(second, 0, interval_id{9}));
    CHECK_FALSE(stamps.changed_since(second, 0, interval_id{10}));
}

TEST_CASE("change stamps: an older change that is pushed out doesn't count as a newer one") {
    change_stamps stamps;
    constexpr std::uint64_t blocks = 1 << 21; // several times what the table holds
    for (std::uint64_t b = 0; b < blocks; ++b) {
        change(stamps, second, b, 1 + b / 4096);
    }
    const std::uint64_t newest = blocks / 4096;
    int wrong = 0;
    for (std::uint64_t b = 0; b < blocks; ++b) {
        wrong += stamps.changed_since(first, b, interval_id{newest - 4}) ? 1 : 0;
    }
    CHECK(wrong < 100);
}

TEST_CASE("change stamps: never too early") {
    std::mt19937_64 random(1);
    change_stamps stamps;
    std::map<std::uint64_t, std::uint64_t> truth;
    constexpr std::uint64_t blocks = 3 << 19;
    std::uint64_t id = (1ULL << 32) - 100; // the low bits wrap on the way
    constexpr auto changes = 2'000'000 / test::one_in;
    int missed = 0;
    for (std::uint64_t i = 0; i < changes; ++i) {
        id += random() % 10'000 == 0 ? 1 : 0;
        const std::uint64_t block = random() % blocks;
        change(stamps, first, block, id);
        truth[block] = id;
        const std::uint64_t other = random() % blocks;
        if (const auto known = truth.find(other); known != truth.end()) {
            missed += stamps.changed_since(first, other, interval_id{known->second - 1}) ? 0 : 1;
        }
    }
    CHECK(missed == 0);
}

TEST_CASE("change stamps: a long change counts for all blocks") {
    change_stamps stamps;
    stamps.changed(first, {0, 1 << 20}, interval_id{5});
    CHECK(stamps.changed_since(second, 7, interval_id{4}));
    CHECK_FALSE(stamps.changed_since(second, 7, interval_id{5}));
}
