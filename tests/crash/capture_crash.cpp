// The dirty map through every crash. A history of first touches, writes, trims, closes,
// acknowledgements and upkeep is stopped after each of its mutating calls, by a kill or by power
// cuts that keep different parts of what was not synced. After the restart every region that
// differs from what the DR site durably holds must be dirty, interval ids must not come again, and
// one catch-up must make both sides equal.

#include "tests/unit/capture/capture_rig.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::test;

namespace {

/// Runs the step unless the machine has stopped before or does so in it.
template <class Step>
bool alive(capture_rig &rig, Step step) {
    if (!rig.disk.stopped()) {
        step();
    }
    return !rig.disk.stopped();
}

void some_writes(capture_rig &rig, std::uint64_t from, std::uint64_t to) {
    for (int i = 0; i < 6; ++i) {
        const std::uint64_t offset = from + rig.below(to - from);
        const byte_vector data =
            rig.content(std::min<std::uint64_t>(1 + rig.below(9000), to - offset));
        const auto written = alive(rig, [&] { (void)rig.write(1, offset, data); });
        if (!written) {
            return;
        }
    }
}

/// Each step begins only while the machine runs: a dead daemon sends nothing.
void history(capture_rig &rig) {
    const auto step = [&](auto f) { alive(rig, f); };
    step([&] { (void)rig.open(); });
    if (!rig.group) {
        return;
    }
    step([&] { rig.begin_recording(); });
    step([&] { some_writes(rig, 0, 1U << 20); });
    step([&] { rig.finish_scan(); });
    step([&] { rig.close(true); });
    step([&] { rig.deliver(); });
    for (int round = 0; round < 2; ++round) { // the second finds nothing used: all extents leave
        rig.clock.advance(std::chrono::minutes(6));
        step([&] { (void)rig.group->maintain(); });
    }
    step([&] { some_writes(rig, 5U << 20, 6U << 20); }); // first touches
    step([&] { rig.close(false); });
    step([&] { some_writes(rig, 0, 9U << 20); });
    step([&] { (void)rig.device(1).flush(); });
    step([&] { (void)rig.zero(0, {3 * region_bytes - 700, 5 * region_bytes}, true); });
    step([&] { rig.close(false); });
    step([&] { rig.deliver(); });
    step([&] { rig.deliver(); });
    step([&] { rig.group->begin_tracking(); });
    step([&] { some_writes(rig, 2U << 20, 9U << 20); });
    step([&] { rig.begin_recording(); });
    step([&] { rig.finish_scan(); });
    step([&] { rig.close(true); });
    step([&] { some_writes(rig, 0, 5U << 20); });
    step([&] { rig.deliver(); });
    rig.clock.advance(std::chrono::minutes(6));
    step([&] { (void)rig.group->maintain(); });
    step([&] { (void)rig.group->close_clean(); });
}

capture_rig fresh_rig(std::uint64_t seed) {
    return capture_rig(seed, {20 * region_bytes + 3 * block_bytes + 512, 9 * (1U << 20)});
}

/// `how`: 1 kill, 2 power cut with the seed.
void crash_after(std::uint64_t calls, int how, std::uint64_t cut) {
    CAPTURE(calls);
    CAPTURE(how);
    CAPTURE(cut);
    capture_rig rig = fresh_rig(1);
    rig.disk.set_cached_percent(100);
    rig.disk.stop_after(calls);
    history(rig);
    rig.problems.clear(); // calls that failed because the machine stopped
    const interval_id used = rig.last_id;
    if (rig.group) {
        rig.restart(how, cut);
    } else if (how == 1) {
        rig.disk.kill();
        rig.note(rig.open());
    } else {
        rig.disk.power_cut(cut);
        rig.options.boot_id = "boot-1";
        rig.reread();
        rig.note(rig.open());
    }
    REQUIRE(rig.group);
    CHECK(rig.group->start().last_interval >= used);
    rig.check_dirty();
    rig.catch_up();
    rig.check_live();
    for (const std::string &problem : rig.problems) {
        FAIL_CHECK(problem);
    }
    CHECK(rig.durable == rig.live);
    CHECK(rig.dirty_bytes() == 0);
}

} // namespace

TEST_CASE("capture: a crash after any call leaves no difference unmarked") {
    std::uint64_t calls = 0;
    {
        capture_rig rig = fresh_rig(1);
        rig.disk.set_cached_percent(100);
        const std::uint64_t before = rig.disk.mutating_calls();
        history(rig);
        CHECK(rig.problems.empty());
        calls = rig.disk.mutating_calls() - before;
    }
    CHECK(calls > 60);
    for (std::uint64_t n = 1; n <= calls; ++n) {
        crash_after(n, 1, 0);
        for (const std::uint64_t cut : {n % 2, 7 + n}) {
            crash_after(n, 2, cut);
        }
    }
}

TEST_CASE("capture: a kill loses nothing of the fine bits, so little is compared") {
    capture_rig rig = fresh_rig(2);
    rig.note(rig.open());
    rig.catch_up();
    REQUIRE(rig.dirty_bytes() == 0);
    rig.note(rig.write(1, 5U << 20, rig.content(block_bytes)));
    rig.restart(1, 0);
    CHECK(rig.group->start().same_boot_or_clean);
    CHECK(!rig.group->start().fresh);
    CHECK(rig.dirty_bytes() == region_bytes);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a power cut costs a comparison of the active extents only") {
    capture_rig rig = fresh_rig(3);
    rig.note(rig.open());
    rig.catch_up();
    for (int round = 0; round < 2; ++round) {
        rig.clock.advance(std::chrono::minutes(6));
        rig.note(rig.group->maintain());
    }
    rig.note(rig.write(1, 8U << 20, rig.content(block_bytes))); // the last extent, 1 MiB
    rig.restart(2, 0);
    CHECK(!rig.group->start().same_boot_or_clean);
    CHECK(!rig.group->start().fresh);
    CHECK(rig.group->dirty_bytes(volume_index{1}) == 1U << 20);
    rig.check_dirty();
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a write that can't be marked is refused and leaves the data as it was") {
    capture_rig rig = fresh_rig(4);
    rig.note(rig.open());
    rig.catch_up();
    for (int round = 0; round < 2; ++round) {
        rig.clock.advance(std::chrono::minutes(6));
        rig.note(rig.group->maintain());
    }
    rig.disk.inject({sim_scope::syncs, "state/v1.map"});
    const auto refused = rig.write(1, 0, rig.content(block_bytes));
    REQUIRE(!refused);
    CHECK(is_errno(refused.error(), EIO));
    CHECK(refused.error().context.find("state/v1.map") != std::string::npos);
    // For good, since the kernel may have dropped what the sync was to write.
    CHECK(!rig.write(1, 0, rig.content(block_bytes)));
    CHECK(rig.write(0, 0, rig.content(block_bytes))); // the other volume has its own map
    rig.check_live();
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a failed write falls to tracking and its region stays dirty") {
    capture_rig rig = fresh_rig(5);
    rig.note(rig.open());
    rig.catch_up();
    rig.disk.inject({sim_scope::writes, "disks/v1"});
    const auto failed = rig.device(1).write(0, rig.content(3 * block_bytes), false);
    REQUIRE(!failed);
    CHECK(is_errno(failed.error(), EIO));
    CHECK(rig.group->mode() == capture_mode::tracking);
    CHECK(rig.group->fallback_reason().find("v1") != std::string::npos);
    CHECK(rig.attentions == 1);
    CHECK(rig.dirty_bytes() == region_bytes);
    rig.reread();
    rig.check_dirty();
    rig.catch_up();
    CHECK(rig.durable == rig.live);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a failed sync of a volume marks all that may be lost") {
    capture_rig rig = fresh_rig(6);
    rig.note(rig.open());
    rig.catch_up();
    rig.note(rig.write(1, 0, rig.content(block_bytes)));
    rig.close(false);
    rig.deliver();
    REQUIRE(rig.dirty_bytes() == 0);
    rig.disk.inject({sim_scope::syncs, "disks/v1"});
    CHECK(!rig.device(1).flush());
    CHECK(rig.group->mode() == capture_mode::tracking);
    CHECK(rig.group->dirty_bytes(volume_index{1}) == 9U << 20);
    rig.reread();
    rig.check_dirty();
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a full disk refuses the start and changes nothing") {
    capture_rig rig = fresh_rig(7);
    rig.disk.set_capacity(rig.disk.used_bytes());
    const auto refused = rig.open();
    REQUIRE(!refused);
    CHECK(is_errno(refused.error(), ENOSPC));
    rig.disk.set_capacity(1ULL << 40);
    rig.note(rig.open());
    CHECK(rig.group->start().fresh);
    CHECK(rig.problems.empty());
}
