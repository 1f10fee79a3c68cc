#include "dedupe/delta.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::codec_test;
using runs_list = std::vector<codec_format::delta_run>;

namespace {

/// Runs of a block that differs from its base exactly in [offset, offset + length) of each range.
runs_list runs_of(std::initializer_list<codec_format::delta_run> ranges) {
    const page before = noise(1);
    page after = before;
    for (const auto &r : ranges) {
        for (std::size_t i = r.offset; i < std::size_t{r.offset} + r.length; ++i) {
            after[i] ^= std::byte{0x55};
        }
    }
    runs_list runs;
    REQUIRE(dedupe::find_runs(before, after, runs));

    byte_vector literals;
    dedupe::append_literals(after, runs, literals);
    page rebuilt = before;
    CHECK(dedupe::apply_runs(runs, literals, rebuilt) == literals.size());
    CHECK(rebuilt == after);
    return runs;
}

} // namespace

TEST_SUITE("dedupe") {
    TEST_CASE("delta: equal blocks have no runs") { CHECK(runs_of({}).empty()); }

    TEST_CASE("delta: a run begins and ends exactly at the bytes that differ") {
        for (std::uint16_t offset = 0; offset < 80; ++offset) {
            for (std::uint16_t length = 1; length < 20; ++length) {
                CHECK(runs_of({{offset, length}}) == runs_list{{offset, length}});
            }
        }
        CHECK(runs_of({{4095, 1}}) == runs_list{{4095, 1}});
        CHECK(runs_of({{0, 1}, {4095, 1}}) == runs_list{{0, 1}, {4095, 1}});
    }

    TEST_CASE("delta: gaps below eight bytes are merged, of eight not") {
        for (std::uint16_t offset = 0; offset < 70; ++offset) {
            const auto after_seven = static_cast<std::uint16_t>(offset + 3 + 7);
            const auto after_eight = static_cast<std::uint16_t>(offset + 3 + 8);
            CHECK(runs_of({{offset, 3}, {after_seven, 2}}) == runs_list{{offset, 12}});
            CHECK(runs_of({{offset, 3}, {after_eight, 2}}) ==
                  runs_list{{offset, 3}, {after_eight, 2}});
        }
    }

    TEST_CASE("delta: given up when it costs more than 60 % of the block") {
        const page before = noise(1);
        page after = before;
        // One run of n bytes costs n and three bytes of commands.
        const std::size_t most = dedupe::delta_cost_max - 3;
        for (std::size_t i = 0; i < most; ++i) {
            after[i] ^= std::byte{1};
        }
        runs_list runs;
        CHECK(dedupe::find_runs(before, after, runs));
        after[most] ^= std::byte{1};
        CHECK_FALSE(dedupe::find_runs(before, after, runs));
        CHECK_FALSE(dedupe::find_runs(before, noise(2), runs));
        // Many short runs: their commands count too.
        after = before;
        for (std::size_t i = 0; i < block_bytes; i += 9) {
            after[i] ^= std::byte{1};
        }
        CHECK(dedupe::find_runs(before, after, runs));
        CHECK(runs.size() == 456);
    }
}
