#include "replicator/base/geometry.hpp"
#include "replicator/base/opening_limits.hpp"
#include "replicator/replica/overlay_directory.hpp"
#include "tests/support/memory_device.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <random>
#include <thread>

using namespace farshore;

namespace {

constexpr std::uint64_t volume_bytes = 40 * block_bytes + 1500; // no multiple of anything
constexpr std::uint64_t limit_bytes = 16 * block_bytes;

byte_vector pattern(std::size_t count, unsigned seed) {
    byte_vector out(count);
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<std::byte>(1 + (seed * 7 + i / 512 + i) % 255);
    }
    return out;
}

struct overlay_fixture {
    sim_file_system fs{1};
    std::shared_ptr<test::memory_device> below =
        std::make_shared<test::memory_device>(volume_bytes);
    std::vector<overlay_volume> volumes{{"data", volume_bytes}};
    std::shared_ptr<overlay_space> space;
    std::shared_ptr<block_device> device;
    byte_vector expected = pattern(volume_bytes, 3);

    overlay_fixture() {
        REQUIRE(below->write(0, expected, false));
        REQUIRE(create_overlays(fs, "/o/1", interval_id{9}, volumes));
        open();
    }
    void open(std::uint64_t limit = limit_bytes) {
        device.reset();
        space = std::make_shared<overlay_space>(fs, "/o/1", limit, "shop-1");
        auto opened = open_overlays(fs, "/o/1", interval_id{9}, volumes, {below}, space);
        REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().text()));
        device = opened->front();
    }
    void write(std::uint64_t offset, std::size_t count, unsigned seed) {
        const byte_vector data = pattern(count, seed);
        REQUIRE(device->write(offset, data, false));
        std::ranges::copy(data, expected.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void zero(std::uint64_t offset, std::uint64_t count, zero_options o = {}) {
        REQUIRE(device->write_zeroes({offset, count}, o));
        std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(offset), count, std::byte{0});
    }
    byte_vector read(std::uint64_t offset, std::size_t count) {
        byte_vector out(count);
        REQUIRE(device->read(offset, out));
        return out;
    }
    void check() { CHECK(std::ranges::equal(read(0, volume_bytes), expected)); }
    std::vector<status_extent> status(std::uint64_t offset, std::uint64_t count) {
        const auto told = device->status({offset, count}, status_context::allocation, 100);
        REQUIRE(told);
        return *told;
    }
};

} // namespace

TEST_SUITE("replica") {
    TEST_CASE_FIXTURE(overlay_fixture, "overlay: writes of any shape, and the point stays") {
        const byte_vector point = expected;
        check();
        write(2 * block_bytes, block_bytes, 1);
        write(4 * block_bytes + 100, 50, 2);                 // inside a block
        write(6 * block_bytes - 7, 2 * block_bytes + 20, 3); // both ends inside
        write(4 * block_bytes + 4000, 90, 4);                // a block that is there, and one more
        write(volume_bytes - 10, 10, 5);                     // the last, short block
        check();
        CHECK(space->used_bytes() == 7 * block_bytes);
        byte_vector below_now(volume_bytes);
        REQUIRE(below->read(0, below_now));
        CHECK(below_now == point);
        REQUIRE(device->flush());
        open();
        check();
        CHECK(space->used_bytes() == 7 * block_bytes);
    }

    TEST_CASE_FIXTURE(overlay_fixture, "overlay: zeroes are holes without space") {
        write(10 * block_bytes, 4 * block_bytes, 1);
        zero(11 * block_bytes - 5, 2 * block_bytes + 10); // two whole ones
        CHECK(space->used_bytes() == 2 * block_bytes);
        zero(30 * block_bytes, 3 * block_bytes);
        REQUIRE(device->trim({volume_bytes - 1500, 1500}, true)); // the last, short block is whole
        std::fill(expected.end() - 1500, expected.end(), std::byte{0});
        CHECK(space->used_bytes() == 2 * block_bytes);
        zero(20 * block_bytes, 2 * block_bytes, {.fua = true, .keep_allocated = true});
        CHECK(space->used_bytes() == 4 * block_bytes);
        zero(25 * block_bytes + 10, 300); // inside one block
        CHECK(space->used_bytes() == 5 * block_bytes);
        check();
        write(31 * block_bytes + 8, 16, 2); // into a hole: the rest is zero
        CHECK(space->used_bytes() == 6 * block_bytes);
        check();
        REQUIRE(device->flush());
        open();
        check();
        CHECK(space->used_bytes() == 4 * block_bytes); // an allocated zero is a hole to who looks
    }

    TEST_CASE_FIXTURE(overlay_fixture, "overlay: status says hole only of what is zero") {
        write(3 * block_bytes, block_bytes, 1);
        zero(4 * block_bytes, 2 * block_bytes);
        const auto told = status(0, volume_bytes);
        REQUIRE(told.size() == 3);
        CHECK(told[0].length == 4 * block_bytes);
        CHECK(told[0].flags == 0);
        CHECK(told[1].length == 2 * block_bytes);
        CHECK(told[1].flags == 3);
        CHECK(told[2].length == volume_bytes - 6 * block_bytes);
        const auto part = status(5 * block_bytes - 100, 200); // unaligned, within the hole
        REQUIRE(part.size() == 1);
        CHECK((part[0].length == 200 && part[0].flags == 3));
        const auto one = device->status({0, volume_bytes}, status_context::allocation, 1);
        REQUIRE(one);
        CHECK(one->size() == 1);
    }

    TEST_CASE_FIXTURE(overlay_fixture, "overlay: at the limit ENOSPC, and nothing is changed") {
        write(0, 15 * block_bytes, 1);
        const byte_vector two = pattern(2 * block_bytes, 2);
        const auto refused = device->write(20 * block_bytes, two, false);
        REQUIRE(!refused);
        CHECK(is_errno(refused.error(), ENOSPC));
        CHECK(space->used_bytes() == 15 * block_bytes);
        check();
        write(20 * block_bytes, block_bytes, 3);    // exactly full
        write(5 * block_bytes, 3 * block_bytes, 4); // what is there may be written
        const auto byte = device->write(30 * block_bytes, pattern(1, 5), false);
        REQUIRE(!byte);
        CHECK(is_errno(byte.error(), ENOSPC));
        zero(0, 4 * block_bytes); // gives back
        write(30 * block_bytes, 4 * block_bytes, 6);
        check();
        REQUIRE(device->flush());
        open(block_bytes); // a smaller limit later: what is there counts, nothing more comes
        CHECK(space->used_bytes() == 16 * block_bytes);
        CHECK(!device->write(35 * block_bytes, pattern(1, 7), false));
        check();
    }

    TEST_CASE_FIXTURE(overlay_fixture,
                      "overlay: one limit for all volumes, given back at the end") {
        const auto both = std::make_shared<overlay_space>(fs, "/o", 3 * block_bytes, "shop-2");
        const std::vector<overlay_volume> two{{"a", volume_bytes}, {"b", volume_bytes}};
        REQUIRE(create_overlays(fs, "/o/2", interval_id{9}, two));
        auto opened = open_overlays(fs, "/o/2", interval_id{9}, two, {below, below}, both);
        REQUIRE(opened);
        CHECK((*opened)[0]->write(0, pattern(2 * block_bytes, 1), false));
        CHECK(!(*opened)[1]->write(0, pattern(2 * block_bytes, 1), false));
        CHECK((*opened)[1]->write(0, pattern(block_bytes, 1), false));
        opened->clear();
        CHECK(both->used_bytes() == 0);
        REQUIRE(remove_overlays(fs, "/o/2"));
        CHECK(fs.exists("/o/2") == false);
        REQUIRE(remove_overlays(fs, "/o/2"));
    }

    TEST_CASE_FIXTURE(overlay_fixture,
                      "overlay: a full disk refuses a write, some is left for others") {
        fs.set_capacity(fs.used_bytes() + limits::overlay_free_bytes_min + 2 * block_bytes);
        write(0, block_bytes, 1);
        const auto refused = device->write(block_bytes, pattern(2 * block_bytes, 2), false);
        REQUIRE(!refused);
        CHECK(is_errno(refused.error(), ENOSPC));
        CHECK(refused.error().text().find("left for the journal") != std::string::npos);
        check();
        CHECK(space->used_bytes() == block_bytes);
    }

    TEST_CASE_FIXTURE(overlay_fixture,
                      "overlay: a write that fails half-way leaves the point's blocks") {
        write(0, block_bytes, 1);
        zero(2 * block_bytes, block_bytes);
        fs.inject({.scope = sim_scope::writes, .number = ENOSPC});
        CHECK(!device->write(block_bytes, pattern(block_bytes, 2), false));
        CHECK(space->used_bytes() == block_bytes);
        check();
        REQUIRE(device->flush());
        write(block_bytes, 100, 3); // what the failed write left is not seen by it
        check();
    }

    TEST_CASE_FIXTURE(overlay_fixture, "overlay: a failed sync is final, a full map is not") {
        write(0, block_bytes, 1);
        fs.inject({.scope = sim_scope::writes, .number = ENOSPC});
        const auto full = device->flush();
        REQUIRE(!full);
        CHECK(is_errno(full.error(), ENOSPC));
        REQUIRE(device->flush());
        sim_file_system copy(fs);
        write(block_bytes, block_bytes, 2);
        fs.inject({.scope = sim_scope::syncs, .number = EIO});
        CHECK(!device->flush());
        const auto after = device->write(0, pattern(10, 3), false);
        REQUIRE(!after);
        CHECK(is(after.error(), errc::dead));
        copy.power_cut(0);
        const auto again =
            open_overlays(copy, "/o/1", interval_id{9}, volumes, {below},
                          std::make_shared<overlay_space>(copy, "/o/1", limit_bytes, "x"));
        REQUIRE(again);
        byte_vector first(block_bytes);
        REQUIRE(again->front()->read(0, first));
        CHECK(std::ranges::equal(first, pattern(block_bytes, 1))); // the second flush had it
    }

    TEST_CASE_FIXTURE(overlay_fixture,
                      "overlay: a map of another point, volume or damaged is refused") {
        device.reset();
        const auto open_as = [&](std::uint64_t point, std::uint64_t size) {
            const auto other = std::make_shared<test::memory_device>(size);
            return open_overlays(fs, "/o/1", interval_id{point}, {{"data", size}}, {other}, space);
        };
        CHECK(open_as(9, volume_bytes));
        CHECK(is(open_as(8, volume_bytes).error(), errc::corrupt));
        CHECK(is(open_as(9, volume_bytes + 1).error(), errc::corrupt));
        CHECK(is(open_as(9, volume_bytes + block_bytes).error(), errc::corrupt));
        fs.corrupt("/o/1/data.map", 4096 + 5, std::byte{0x04}); // block 42; the volume ends at 41
        CHECK(is(open_as(9, volume_bytes).error(), errc::corrupt));
        fs.corrupt("/o/1/data.map", 4096 + 5, std::byte{0x04});
        fs.corrupt("/o/1/data.map", 9);
        CHECK(is(open_as(9, volume_bytes).error(), errc::corrupt));
    }

    TEST_CASE_FIXTURE(overlay_fixture, "overlay: writers of one block take turns") {
        open(volume_bytes * 2);
        std::vector<std::thread> writers;
        for (unsigned t = 0; t < 4; ++t) { // each its quarter of every block
            writers.emplace_back([&, t] {
                const byte_vector mine(1024, static_cast<std::byte>(t + 1));
                for (std::uint64_t b = 0; b < 40; ++b) {
                    if (!device->write(b * block_bytes + t * 1024, mine, b % 8 == 0)) {
                        std::abort();
                    }
                }
            });
        }
        for (std::thread &w : writers) {
            w.join();
        }
        for (std::uint64_t i = 0; i < 40 * block_bytes; ++i) {
            expected[i] = static_cast<std::byte>(i / 1024 % 4 + 1);
        }
        check();
    }
}
