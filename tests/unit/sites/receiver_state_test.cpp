#include "replicator/receiver/receiver_state.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("sites");

TEST_CASE("receiver state: all facts; it never says more than is known") {
    for (unsigned bits = 0; bits < 32; ++bits) {
        const receiver_state_facts f{.failed = (bits & 1) != 0,
                                     .copy = (bits & 2) != 0,
                                     .replaying = (bits & 4) != 0,
                                     .applied = (bits & 8) != 0,
                                     .in_catch_up = (bits & 16) != 0};
        const receiver_state s = state_of(f);
        CHECK((s == receiver_state::failed) == f.failed);
        if (f.failed) {
            continue;
        }
        CHECK((s == receiver_state::replaying) == (f.copy && f.replaying));
        if (s == receiver_state::following) { // the only one that promises a point
            CHECK((f.copy && f.applied && !f.in_catch_up));
        }
        if (s == receiver_state::receiving_sync) {
            CHECK((f.copy && f.applied && f.in_catch_up));
        }
        CHECK((s == receiver_state::empty) == (!f.copy || (!f.replaying && !f.applied)));
    }
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
