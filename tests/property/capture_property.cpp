// Random histories of a capture group against the model of tests/unit/capture/capture_rig.hpp:
// writes of any alignment, trims, closes, acknowledgements, scans, falls to tracking, stops, kills
// and power cuts. Seeds that once failed stay in the list. FARSHORE_SEED=n replays one.

#include "tests/support/sanitized.hpp"
#include "tests/unit/capture/capture_rig.hpp"

#include <doctest/doctest.h>

#include <cstdlib>

using namespace farshore;
using namespace farshore::test;

namespace {

void one_write(capture_rig &rig) {
    const std::size_t v = rig.below(rig.live.size());
    const std::uint64_t size = rig.live[v].size();
    std::uint64_t offset = rig.below(size);
    std::uint64_t length = 1 + rig.below(rig.below(8) == 0 ? 300000 : 20000);
    if (rig.below(2) == 0) {
        offset = offset / block_bytes * block_bytes;
        length = ceil_div(length, block_bytes) * block_bytes;
    }
    if (rig.below(6) == 0) {
        offset = size - std::min(size, length); // the volume's end
    }
    length = std::min(length, size - offset);
    switch (rig.below(8)) {
    case 0:
        rig.note(rig.zero(v, {offset, length}, rig.below(2) == 0, rig.below(2) == 0));
        return;
    case 1: {
        const std::uint64_t whole = std::min(size - offset, length * 8);
        rig.note(rig.zero(v, {offset, whole}, rig.below(2) == 0, rig.below(2) == 0));
        return;
    }
    default:
        break;
    }
    const byte_vector data = rig.content(length);
    const auto at_once = rig.try_write(v, offset, data);
    rig.note(at_once);
    if (at_once && !*at_once) {
        rig.note(rig.write(v, offset, data));
    }
}

void one_step(capture_rig &rig) {
    const std::uint64_t what = rig.below(1000);
    if (what < 600) {
        one_write(rig);
    } else if (what < 700) {
        rig.close(rig.below(4) == 0);
    } else if (what < 780) {
        rig.deliver();
    } else if (what < 880) {
        rig.scan_step(rig.below(3) == 0   ? region_bytes
                      : rig.below(3) == 0 ? block_bytes
                                          : 1U << 20,
                      rig.below(10) == 0);
    } else if (what < 888) {
        rig.settled_holes += rig.hole_step();
    } else if (what < 895) {
        rig.finish_scan();
    } else if (what < 910) {
        rig.group->begin_tracking();
    } else if (what < 930) {
        if (!rig.recording()) {
            rig.begin_recording();
        }
    } else if (what < 940) {
        rig.begin_recording();
    } else if (what < 950) {
        const std::size_t v = rig.below(rig.live.size());
        const std::uint64_t offset = rig.below(rig.live[v].size());
        rig.group->mark_dirty(volume_index{static_cast<std::uint16_t>(v)},
                              {offset, 1 + rig.below(200000)});
        rig.begin_recording();
    } else if (what < 965) {
        const std::size_t v = rig.below(rig.live.size());
        const byte_range all =
            range_of(region_index{rig.below(region_count(rig.live[v].size()))}, rig.live[v].size());
        const auto added =
            rig.group->add_verify({volume_index{static_cast<std::uint16_t>(v)}, all}, test_digest);
        rig.expect(added || is(added.error(), errc::not_in_sync), "add_verify failed");
    } else if (what < 975) {
        rig.note(rig.device(rig.below(rig.live.size())).flush());
    } else if (what < 990) {
        rig.clock.advance(std::chrono::minutes(rig.below(8)));
        rig.note(rig.group->maintain());
    } else {
        rig.restart(static_cast<int>(rig.below(3)), rig.below(50));
    }
}

std::uint64_t settled_holes = 0; ///< over all seeds

void run_history(std::uint64_t seed) {
    CAPTURE(seed);
    capture_rig rig(seed, {20 * region_bytes + 3 * block_bytes + 512, 9 * (1U << 20)});
    if (seed % 5 == 0) {
        rig.options.memory.bytes_max = 2U << 20; // overflows now and then
    }
    rig.note(rig.open());
    for (int i = 0; i < 250 && rig.problems.empty(); ++i) {
        one_step(rig);
        if (i % 5 == 0) {
            rig.check_dirty();
        }
    }
    rig.check_live();
    rig.catch_up();
    // A scan that outgrew the interval fell to tracking; the engine closes earlier than this.
    for (int i = 0; i < 20 && rig.dirty_bytes() > 0 && rig.problems.empty(); ++i) {
        if (!rig.recording()) {
            rig.begin_recording();
        }
        while (rig.scan_step(region_bytes)) {
            rig.close(false);
        }
        rig.close(true);
        while (rig.deliver()) {
        }
    }
    for (const std::string &problem : rig.problems) {
        FAIL_CHECK(problem);
    }
    CHECK(rig.durable == rig.live);
    CHECK(rig.dirty_bytes() == 0);
    CHECK(rig.vouched > 0);
    settled_holes += rig.settled_holes;
}

} // namespace

TEST_CASE("capture: random histories keep order, the dirty superset, and get clean") {
    if (const char *one = std::getenv("FARSHORE_SEED")) {
        run_history(std::strtoull(one, nullptr, 10));
        return;
    }
    for (std::uint64_t seed = 1; seed <= 60; seed += test::one_in) {
        run_history(seed);
    }
    CHECK(settled_holes > 0);
}
