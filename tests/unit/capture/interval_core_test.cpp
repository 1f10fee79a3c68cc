#include "replicator/capture/interval.hpp"
#include "replicator/capture/interval_core.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>

using namespace farshore;

namespace {

constexpr volume_index volume{3};
constexpr std::uint64_t volume_blocks = 1000; // not whole regions

owned_core make_core() { return owned_core(new interval_core({}, std::make_shared<page_pool>())); }

void put(interval_core &core, index_range blocks, std::uint8_t value, bool before = false) {
    run_list runs;
    core.reserve(volume, blocks, before, runs);
    for (std::size_t i = 0; i < runs.size(); ++i) {
        std::fill_n(runs[i].content, runs[i].count * block_bytes, std::byte{value});
    }
}

} // namespace

TEST_SUITE_BEGIN("interval_core");

TEST_CASE("interval: new neighbours of a region are one run with room for their old content") {
    const owned_core core = make_core();
    run_list runs;
    core->reserve(volume, {16, 32}, true, runs);
    REQUIRE(runs.size() == 1);
    CHECK(runs[0].count == 16);
    CHECK(runs[0].before != nullptr);
    run_list again;
    core->reserve(volume, {20, 24}, true, again);
    REQUIRE(again.size() == 1);
    CHECK(again[0].content == runs[0].content + 4 * block_bytes);
    CHECK(again[0].before == nullptr); // it is at the first write that the old content counts
    CHECK(core->data_blocks() == 16);
}

TEST_CASE(
    "interval: old content that was not to be had leaves no trace, and its page is used again") {
    const owned_core core = make_core();
    run_list runs;
    core->reserve(volume, {0, 1}, true, runs);
    std::byte *page = runs[0].before;
    core->free_before(runs[0]);
    run_list next;
    core->reserve(volume, {5, 6}, false, next);
    CHECK(next[0].content == page);
    for (const block_change &c : core->changes()) {
        CHECK(c.before.empty());
    }
}

TEST_CASE("interval: kept old content is that of the block") {
    const owned_core core = make_core();
    run_list runs;
    core->reserve(volume, {2, 5}, true, runs);
    std::fill_n(runs[0].before + block_bytes, block_bytes, std::byte{9});
    runs[0].keep_before(1);
    const auto changes = core->changes();
    CHECK(changes[0].before.empty());
    REQUIRE(changes[1].before.size() == block_bytes);
    CHECK(changes[1].before[17] == std::byte{9});
}

TEST_CASE("interval: a terabyte of zeroes costs one run") {
    const owned_core core = make_core();
    put(*core, {100, 103}, 1);
    constexpr std::uint64_t tera = (1ULL << 40) / block_bytes;
    core->record_zero(volume, {0, tera}, tera);
    CHECK(core->memory_bytes() < 1U << 20);
    const auto changes = core->changes();
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].kind == change_kind::zero);
    CHECK(changes[0].count == tera);
    CHECK(core->data_blocks() == 0);
}

TEST_CASE("interval: any order of data and zeroes gives what a map of blocks gives") {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        const owned_core core = make_core();
        std::map<std::uint64_t, int> model; // block -> byte, 0 zero
        for (int step = 0; step < 40; ++step) {
            const std::uint64_t first = random() % volume_blocks;
            if (random() % 2 == 0) {
                const std::uint64_t region_end = (first / 16 + 1) * 16;
                const std::uint64_t last =
                    std::min({first + 1 + random() % 16, region_end, volume_blocks});
                const auto value = static_cast<std::uint8_t>(1 + random() % 255);
                put(*core, {first, last}, value, random() % 2 == 0);
                for (std::uint64_t b = first; b < last; ++b) {
                    model[b] = value;
                }
            } else {
                const std::uint64_t last = std::min(first + 1 + random() % 200, volume_blocks);
                core->record_zero(volume, {first, last}, volume_blocks);
                for (std::uint64_t b = first; b < last; ++b) {
                    model[b] = 0;
                }
            }
        }
        std::map<std::uint64_t, int> got;
        std::uint64_t end = 0;
        std::uint64_t data = 0;
        for (const block_change &c : core->changes()) {
            CHECK(c.volume == volume);
            CHECK(c.block.value >= end);
            end = c.block.value + c.count;
            data += c.kind == change_kind::data ? 1 : 0;
            for (std::uint64_t b = c.block.value; b < end; ++b) {
                got[b] = c.kind == change_kind::zero ? 0 : std::to_integer<int>(c.content[99]);
            }
        }
        CHECK(got == model);
        CHECK(core->data_blocks() == data);
    }
}

TEST_CASE("interval: it is settled when all writers have left, and outlives its owner for them") {
    interval_core *core = new interval_core({}, std::make_shared<page_pool>());
    owned_core owner(core);
    CHECK(owner->settled());
    core->join();
    CHECK(!owner->settled());
    run_list runs;
    core->reserve(volume, {0, 1}, false, runs);
    owner.reset();
    runs[0].content[0] = std::byte{1}; // the sanitizer would complain
    core->part();
}

TEST_CASE("interval: an interval with nothing in it is empty") {
    const interval nothing({stream_id{1}, interval_id{2}});
    CHECK(nothing.empty());
    CHECK(nothing.settled());
    CHECK(nothing.changes().empty());
    CHECK(nothing.memory_bytes() == 0);
    CHECK(!nothing.first_write());
}

TEST_CASE("page pool: chunks that were not needed since the last trim go back to the system") {
    const auto pool = std::make_shared<page_pool>();
    {
        page_arena arena(pool);
        CHECK(arena.allocate(64) != arena.allocate(64));
        CHECK(arena.memory_bytes() == 2 * page_pool::chunk_bytes);
    }
    CHECK(pool->kept_bytes() == 2 * page_pool::chunk_bytes);
    pool->trim(); // they were in use just now
    CHECK(pool->kept_bytes() == 2 * page_pool::chunk_bytes);
    pool->trim();
    CHECK(pool->kept_bytes() == 0);
}

TEST_SUITE_END();
