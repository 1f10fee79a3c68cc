// What a start of a capture group finds: what it kept, what it refuses, what rotted.

#include "replicator/format/dirty_map_file.hpp"
#include "tests/unit/group/synced_rig.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::test;

TEST_SUITE_BEGIN("capture_group");

TEST_CASE("capture: the acknowledged position and the ids survive a restart") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    const interval_id used = rig.last_id;
    for (const int how : {1, 0}) {
        rig.restart(how, 0);
        CHECK(rig.group->start().last_interval == used); // exact: same boot
        CHECK(rig.group->start().acknowledged == stream_position{rig.stream, used});
        CHECK(rig.group->start().receiver == digest16{std::byte{7}});
        CHECK(rig.group->start().same_boot_or_clean);
    }
    rig.restart(2, 0);
    CHECK(rig.group->start().last_interval >= used);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: the errors of a start name the volume") {
    capture_rig rig = synced_rig({1U << 20});
    SUBCASE("missing") {
        rig.options.volumes[0].path = "disks/nothing";
        CHECK(rig.open().error().context.find("v0 (disks/nothing): is missing") !=
              std::string::npos);
    }
    SUBCASE("in use") {
        auto other = rig.disk.open("disks/v0", open_mode::read_write);
        REQUIRE((*other)->lock());
        const auto refused = rig.open();
        CHECK(is(refused.error(), errc::busy));
        CHECK(refused.error().context.find("v0") != std::string::npos);
    }
    SUBCASE("read-only") {
        rig.disk.inject({sim_scope::every, "disks/v0", 1, true, EROFS});
        CHECK(rig.open().error().context.find("v0 (disks/v0): can't be opened for writing") !=
              std::string::npos);
        rig.disk.clear_faults();
    }
    SUBCASE("empty") {
        auto other = rig.disk.open("disks/v0", open_mode::read_write);
        REQUIRE((*other)->truncate(0));
        CHECK(rig.open().error().context.find("is empty") != std::string::npos);
    }
    SUBCASE("state directory in use") {
        rig.note(rig.open());
        auto other = synced_rig({1U << 20});
        const auto refused = capture_group::open(*rig.process, rig.options);
        CHECK(is(refused.error(), errc::busy));
    }
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a volume of another size than before is refused, and taken again with the old one") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    rig.note(rig.group->close_clean());
    rig.group.reset();
    auto f = rig.disk.open("disks/v0", open_mode::read_write);
    rig.note((*f)->truncate(2U << 20));
    {
        const auto refused = capture_group::open(*rig.process, rig.options);
        REQUIRE(!refused);
        CHECK(is(refused.error(), errc::mismatch));
    }
    rig.note((*f)->truncate(1U << 20));
    rig.note(rig.open());
    CHECK_FALSE(rig.group->start().fresh);
}

TEST_CASE(
    "capture: a map that rotted makes what it covered dirty, one of a newer version is refused") {
    capture_rig rig = synced_rig({9U << 20});
    start(rig);
    rig.note(rig.group->close_clean());
    rig.group.reset();
    const map_layout layout = map_layout::of(9U << 20);
    SUBCASE("header") {
        rig.disk.corrupt("state/v0.map", 10);
        rig.note(rig.open());
        CHECK(rig.dirty_bytes() == 9U << 20);
    }
    SUBCASE("activity, and a power cut") {
        rig.options.boot_id = "another";
        rig.disk.corrupt("state/v0.map", layout.activity_offset + 20);
        rig.note(rig.open());
        CHECK(rig.dirty_bytes() == 0); // a clean stop needs no activity
        rig.restart(2, 0);
        CHECK(rig.dirty_bytes() == 9U << 20);
    }
    SUBCASE("capture state") {
        rig.disk.corrupt("state/capture.state", 20);
        rig.disk.corrupt("state/capture.state", 532);
        rig.note(rig.open());
        CHECK(rig.group->start().last_interval == interval_id{});
    }
    CHECK(rig.problems.empty());
}

TEST_SUITE_END();
