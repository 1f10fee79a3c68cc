// Runs of holes in a catch-up, and what a large and empty volume costs.

#include "replicator/format/dirty_map_file.hpp"
#include "tests/unit/capture/synced_rig.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::test;

namespace {

constexpr std::uint64_t TiB = 1ULL << 40;
constexpr volume_index first_volume{0};

/// A capture group over one sparse file, without the model of capture_rig, which holds all bytes.
struct thin_rig {
    explicit thin_rig(std::uint64_t bytes) : size(bytes) {
        process = disk.process();
        REQUIRE(process->make_directories("disks"));
        auto f = process->open("disks/thin", open_mode::create);
        REQUIRE(f);
        REQUIRE((*f)->truncate(size));
        options.volumes.push_back({"thin", "disks/thin"});
        options.state_directory = "state";
        options.boot_id = "boot";
        options.time = &clock;
        auto opened = capture_group::open(*process, options);
        REQUIRE(opened);
        group = std::move(*opened);
    }
    void write(std::uint64_t offset) {
        buffer data(std::min<std::uint64_t>(block_bytes, size - offset));
        std::ranges::fill(data.span(), std::byte{7});
        REQUIRE(group->device(first_volume)->write(offset, data.view(), false));
    }
    /// The DR site acknowledges what was cut.
    void deliver() {
        auto closed = group->close_interval(clock.wall(), true, false);
        REQUIRE(closed);
        consistent = closed->commit().consistent;
        group->durable(closed->position(), digest16{std::byte{7}});
    }

    std::uint64_t size;
    sim_file_system disk{1};
    sim_clock clock;
    capture_options options;
    std::unique_ptr<file_system> process;
    std::unique_ptr<capture_group> group;
    bool consistent = false;
};

} // namespace

TEST_SUITE_BEGIN("capture_holes");

TEST_CASE(
    "holes: a page of the map that gets clean as a whole keeps the region that could not be read") {
    constexpr std::uint64_t page = regions_per_map_page * region_bytes;
    thin_rig rig(2 * page);
    rig.write(page + 100 * region_bytes);
    rig.write(page + 300 * region_bytes);
    rig.disk.spoil_page("disks/thin", (page + 100 * region_bytes) / block_bytes);
    rig.group->begin_tracking();
    rig.group->begin_recording(stream_id{5}, interval_id{1});
    for (std::uint64_t at = 0; at < 2 * page;) {
        const auto piece = rig.group->next_pending(first_volume, at, 1 << 20);
        if (!piece) {
            break;
        }
        at = piece->range.end();
        const auto has = [&](std::uint64_t region) {
            return piece->range.offset <= page + region * region_bytes &&
                   page + region * region_bytes < at;
        };
        if (has(100)) {
            REQUIRE(rig.group->record_readable(*piece));
        } else if (has(300)) {
            REQUIRE(rig.group->record_all(*piece));
        } else {
            REQUIRE(rig.group->settle_holes(*piece));
        }
    }
    REQUIRE(rig.group->pending_bytes() == 0);
    for (int i = 0; i < 3; ++i) {
        rig.deliver();
    }
    CHECK(rig.group->unreadable_bytes(first_volume) == block_bytes);
    CHECK(rig.group->dirty_bytes(first_volume) == region_bytes);
}

TEST_CASE("holes: an empty volume of 1 TiB gets clean by a few looks at the file, without a read") {
    thin_rig rig(TiB);
    CHECK(rig.group->dirty_bytes(first_volume) == TiB);
    rig.group->begin_recording(stream_id{5}, interval_id{1});
    CHECK(rig.group->pending_bytes() == TiB);
    std::uint64_t looks = 0;
    std::uint64_t reads = 0;
    rig.disk.before_call([&](const sim_call &call) {
        looks += call.what == sim_operation::next_data ? 1 : 0;
        reads += call.what == sim_operation::read ? 1 : 0;
    });
    const auto outcome = rig.group->settle_holes({first_volume, {0, TiB}});
    rig.disk.before_call({});
    REQUIRE(outcome);
    CHECK(outcome->settled_regions == TiB / region_bytes);
    CHECK(outcome->data.length == 0);
    CHECK(looks <= 4);
    CHECK(reads == 0);
    CHECK(rig.group->pending_bytes() == 0);
    CHECK(rig.group->dirty_bytes(first_volume) == TiB); // until a barrier says that it is so
    rig.deliver();
    CHECK(rig.consistent);
    CHECK(rig.group->dirty_bytes(first_volume) == 0);
    CHECK(rig.group->maintain());
    rig.write(TiB / 2);
    CHECK(rig.group->dirty_bytes(first_volume) == region_bytes);
}

TEST_CASE("holes: settled up to the data, which is returned as whole regions") {
    thin_rig rig(TiB / 4 + 512);
    rig.write(300 * region_bytes + 3 * block_bytes);
    rig.write(TiB / 4);
    rig.group->begin_recording(stream_id{5}, interval_id{1});
    auto outcome = rig.group->settle_holes({first_volume, {0, rig.size}});
    REQUIRE(outcome);
    CHECK(outcome->settled_regions == 300);
    CHECK(outcome->data == byte_range{300 * region_bytes, region_bytes});
    // A region of which the peer has something is not in the range: left alone.
    outcome = rig.group->settle_holes(
        {first_volume, {301 * region_bytes + block_bytes, 3 * region_bytes}});
    REQUIRE(outcome);
    CHECK(outcome->settled_regions == 2);
    outcome = rig.group->settle_holes(
        {first_volume, {301 * region_bytes, rig.size - 301 * region_bytes}});
    REQUIRE(outcome);
    CHECK(outcome->data == byte_range{TiB / 4, 512});
    CHECK(rig.group->pending_bytes() == region_bytes + 512);
    CHECK(!rig.group->settle_holes({first_volume, {region_bytes, rig.size}}));
}

TEST_CASE("holes: what a client wrote meanwhile is recorded and stays dirty until it is durable") {
    thin_rig rig(TiB);
    rig.group->begin_recording(stream_id{5}, interval_id{1});
    REQUIRE(rig.group->settle_holes({first_volume, {0, TiB / 2}}));
    rig.write(region_bytes);           // in what is settled: recorded
    rig.write(TiB / 2 + region_bytes); // pending: marked only, the scan ships it
    auto closed = rig.group->close_interval(rig.clock.wall(), true, false);
    REQUIRE(closed);
    CHECK(closed->changes().size() == 1);
    CHECK(closed->changes()[0].block.value == region_bytes / block_bytes);
    const auto outcome = rig.group->settle_holes({first_volume, {TiB / 2, TiB / 2}});
    REQUIRE(outcome);
    CHECK(outcome->data == byte_range{TiB / 2 + region_bytes, region_bytes});
}

TEST_CASE("holes: nothing is settled when capture fell to tracking") {
    thin_rig rig(TiB);
    CHECK(is(rig.group->settle_holes({first_volume, {0, TiB}}).error(), errc::not_in_sync));
    CHECK(rig.group->dirty_bytes(first_volume) == TiB);
}

TEST_SUITE_END();
