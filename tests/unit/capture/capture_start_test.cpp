// What a start of a capture group finds: what it kept, what it refuses, what rotted.

#include "replicator/format/dirty_map_file.hpp"
#include "tests/unit/capture/synced_rig.hpp"

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

TEST_CASE(
    "capture: a volume of another size than before is refused, and taken again with the old one") {
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
    CHECK(rig.group->start().alarm.find("v0 (disks/v0): somebody wrote to it") !=
          std::string::npos);
}

namespace {

enum class end_of_life : int { clean = 0, kill = 1, power_cut = 2 };

void end(capture_rig &rig, end_of_life how) {
    if (how == end_of_life::clean) {
        rig.note(rig.group->close_clean());
    }
    rig.group.reset();
    rig.line.clear();
    if (how == end_of_life::power_cut) {
        rig.disk.power_cut(1);
        rig.options.boot_id = "another boot";
    } else {
        rig.disk.kill();
    }
}

void write_behind_its_back(capture_rig &rig) {
    auto f = rig.disk.open("disks/v0", open_mode::read_write);
    rig.note((*f)->write_at(5U << 20, byte_vector(512, std::byte{0x77})));
    rig.note((*f)->sync_all());
}

} // namespace

TEST_CASE(
    "capture: a volume that somebody wrote to while it was not served is compared as a whole") {
    for (const end_of_life how : {end_of_life::clean, end_of_life::kill, end_of_life::power_cut}) {
        for (const bool meddled : {false, true}) {
            CAPTURE(static_cast<int>(how));
            CAPTURE(meddled);
            capture_rig rig = synced_rig({9U << 20});
            rig.disk.set_stamp_clock(
                [&rig] { return rig.clock.wall().time_since_epoch().count(); });
            start(rig);
            rig.note(rig.write(0, 100, byte_vector(70'000, std::byte{1})));
            rig.catch_up();
            end(rig, how);
            rig.clock.advance(std::chrono::seconds(10));
            rig.options.boot_began = how == end_of_life::power_cut ? rig.clock.wall() : wall_time{};
            rig.clock.advance(std::chrono::seconds(1));
            if (meddled) {
                write_behind_its_back(rig);
            }
            rig.reread();
            rig.note(rig.open());
            rig.check_dirty();
            const std::string &alarm = rig.group->start().alarm;
            CHECK((alarm.find("somebody wrote to it while it was not served") !=
                   std::string::npos) == meddled);
            if (meddled) {
                CHECK(rig.dirty_bytes() == 9U << 20);
            } else if (how != end_of_life::power_cut) { // then what was active counts as well
                CHECK(rig.dirty_bytes() == 0);
            }
            CHECK(rig.problems.empty());
        }
    }
}

TEST_CASE("capture: a volume that was put back or replaced is compared as a whole") {
    for (const end_of_life how : {end_of_life::clean, end_of_life::kill, end_of_life::power_cut}) {
        CAPTURE(static_cast<int>(how));
        capture_rig rig = synced_rig({9U << 20});
        rig.disk.set_stamp_clock([&rig] { return rig.clock.wall().time_since_epoch().count(); });
        start(rig);
        const sim_file_system then(rig.disk);
        rig.clock.advance(std::chrono::minutes(10));
        rig.note(rig.write(0, 100, byte_vector(70'000, std::byte{1})));
        rig.catch_up();
        rig.clock.advance(std::chrono::minutes(10));
        rig.note(rig.group->maintain()); // the volume's times are on the disk
        end(rig, how);
        SUBCASE("put back") {
            rig.disk.put_back(then, "disks/");
            rig.reread();
            rig.note(rig.open());
            CHECK(rig.group->start().alarm.find("somebody put it back") != std::string::npos);
        }
        SUBCASE("replaced") {
            auto f = rig.disk.open("disks/new", open_mode::create_new);
            rig.note((*f)->truncate(9U << 20));
            rig.note(rig.disk.rename("disks/new", "disks/v0"));
            rig.reread();
            rig.note(rig.open());
            CHECK(rig.group->start().alarm.find("another file") != std::string::npos);
        }
        rig.check_dirty();
        CHECK(rig.dirty_bytes() == 9U << 20);
        CHECK(rig.problems.empty());
    }
}

TEST_CASE("capture: a page cache that is gone is not trusted in the same boot") {
    capture_rig rig = synced_rig({9U << 20});
    start(rig);
    rig.note(rig.write(0, 100, byte_vector(70'000, std::byte{1})));
    rig.catch_up(); // the DR site has it, the bits are clear
    rig.group.reset();
    rig.line.clear();
    SUBCASE("the file system was mounted anew") {
        rig.disk.mount_anew(0); // and the volume lost the write
        rig.reread();
        rig.note(rig.open());
        rig.check_dirty();
        CHECK(rig.dirty_bytes() >= 4U << 20);
        CHECK_FALSE(rig.group->start().same_boot_or_clean);
    }
    SUBCASE("it lived on") {
        rig.disk.kill();
        rig.note(rig.open());
        CHECK(rig.dirty_bytes() == 0);
    }
    CHECK(rig.group->start().alarm.empty());
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: after a failed sync the next start compares the active parts") {
    capture_rig rig = synced_rig({9U << 20});
    start(rig);
    rig.note(rig.write(0, 100, byte_vector(70'000, std::byte{1})));
    rig.catch_up();
    rig.disk.inject({sim_scope::syncs, "disks/v0", 1, false, EIO});
    CHECK_FALSE(rig.group->close_clean());
    rig.group.reset();
    rig.line.clear();
    rig.disk.kill();
    rig.reread();
    rig.note(rig.open());
    rig.check_dirty();
    CHECK(rig.dirty_bytes() >= 4U << 20);
    CHECK_FALSE(rig.group->start().same_boot_or_clean);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: of a block device some clean regions are compared at each start, and all of it "
          "when one of them differs") {
    constexpr std::uint64_t size = 64U << 20;
    for (const bool meddled : {false, true}) {
        CAPTURE(meddled);
        capture_rig rig = synced_rig({});
        rig.disk.add_block_device("disks/dev", size);
        rig.options.volumes.push_back({"dev", "disks/dev"});
        rig.live.emplace_back(size);
        rig.durable.emplace_back(size);
        start(rig);
        rig.note(rig.write(0, 30U << 20, byte_vector(70'000, std::byte{1})));
        rig.catch_up();
        rig.note(rig.group->close_clean());
        rig.group.reset();
        rig.disk.kill();
        if (meddled) { // all over it, as a restore does
            auto f = rig.disk.open("disks/dev", open_mode::read_write);
            for (std::uint64_t at = 0; at < size; at += 1U << 20) {
                rig.note((*f)->write_at(at, byte_vector(512, std::byte{0x55})));
            }
        }
        rig.reread();
        rig.note(rig.open());
        CHECK(rig.group->start().alarm.empty());
        CHECK(rig.dirty_bytes() > 32 * region_bytes);
        CHECK(rig.dirty_bytes() < size / 2);
        rig.catch_up();
        CHECK(rig.recording() == !meddled);
        if (meddled) {
            CHECK(rig.group->fallback_reason().find("somebody wrote to the device") !=
                  std::string::npos);
            CHECK(rig.dirty_bytes() == size);
            rig.catch_up();
        }
        CHECK(rig.dirty_bytes() == 0);
        CHECK(same_volumes(rig.live, rig.durable));
        CHECK(rig.problems.empty());
    }
}

// As a snapshot of the storage below has it: the times went to the journal of the file system, the
// content did not yet.
TEST_CASE("capture: a volume put back with the very times of the last write, over older content, "
          "is compared") {
    int found = 0;
    for (std::uint64_t seed = 2; seed < 60; ++seed) {
        capture_rig rig = synced_rig({9U << 20});
        start(rig);
        rig.note(rig.write(0, 0, rig.content(region_bytes)));
        sim_file_system before(rig.disk);
        before.power_cut(seed);
        rig.close(true);
        while (rig.deliver()) {
        }
        rig.note(rig.group->close_clean());
        rig.group.reset();
        rig.disk.put_back(before, "disks");
        byte_vector now(9U << 20);
        REQUIRE(rig.disk.open("disks/v0", open_mode::read).value()->read_at(0, now));
        if (now == rig.live[0]) {
            continue;
        }
        ++found;
        rig.note(rig.open());
        CHECK(rig.dirty_bytes() == 9U << 20);
        CHECK_FALSE(rig.group->start().alarm.empty());
    }
    CHECK(found > 10);
}

TEST_CASE(
    "capture: killed at any step of a stop in order, nothing passes for somebody else's write") {
    for (std::uint64_t calls = 0;; ++calls) {
        capture_rig rig = synced_rig({9U << 20});
        start(rig);
        rig.note(rig.write(0, 0, rig.content(region_bytes)));
        rig.disk.stop_after(calls);
        const bool done = rig.group->close_clean().has_value();
        rig.group.reset();
        calls % 2 == 0 ? rig.disk.kill() : rig.disk.power_cut(calls);
        rig.note(rig.open());
        CHECK(rig.group->start().alarm.empty());
        if (done) {
            CHECK(calls > 4);
            break;
        }
    }
}

// Here: of what a page of it says.
TEST_CASE("capture: a bit of the map that flips after a clean stop is noticed") {
    capture_rig rig = synced_rig({9U << 20});
    start(rig);
    rig.note(rig.group->close_clean());
    rig.group.reset();
    rig.disk.corrupt("state/v0.map", map_page_bytes);
    rig.note(rig.open());
    CHECK(rig.dirty_bytes() == 9U << 20);
    CHECK(rig.group->start().alarm.find("dirty map changed at rest") != std::string::npos);
    CHECK(rig.problems.empty());
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
