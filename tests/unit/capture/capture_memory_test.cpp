// What the open interval may hold, while it changes.

#include "tests/unit/capture/synced_rig.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::test;

TEST_SUITE_BEGIN("capture_group");

TEST_CASE("capture: an open interval that fills up asks for more memory ahead of need, and what it "
          "may hold can be changed") {
    capture_rig rig = synced_rig({8U << 20});
    std::uint64_t asked = 0;
    rig.options.memory = {2U << 20, 256U << 10};
    rig.options.more_memory = [&](std::uint64_t bytes) {
        asked = bytes;
        return open_memory{32U << 20, 8U << 20};
    };
    rig.note(rig.open());
    rig.begin_recording();
    while (rig.scan_step(256U << 10)) {
        rig.close(false);
    }
    rig.close(true);
    while (rig.deliver()) {
    }
    rig.attentions = 0;
    rig.group->change_memory([](std::uint64_t) { return open_memory{2U << 20, 256U << 10}; });
    asked = 0;
    rig.note(rig.write(0, 0, rig.content(64U << 10)));
    CHECK(asked == 0); // a third of it
    rig.note(rig.write(0, 64U << 10, rig.content(256U << 10)));
    CHECK(asked > 512U << 10); // large for its memory, so not closed early but grown
    CHECK(rig.attentions == 0);
    rig.note(rig.write(0, 1U << 20, rig.content(4U << 20)));
    CHECK(rig.recording());
    std::uint64_t open_bytes = 0;
    rig.group->change_memory([&](std::uint64_t bytes) {
        open_bytes = bytes;
        return open_memory{bytes, 16U << 20};
    });
    CHECK(open_bytes == rig.group->counts().open_bytes);
    CHECK(rig.problems.empty());
}

TEST_SUITE_END();
