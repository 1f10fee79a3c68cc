#include "replicator/base/blocking.hpp"
#include "tests/support/aborts.hpp"

#include <doctest/doctest.h>

#include <thread>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("base");

TEST_CASE("blocking: a thread that never blocks ends the program when it would") {
    CHECK(test::aborts([] {
        const never_blocks home;
        may_block();
    }));
}

TEST_CASE("blocking: other threads may, and the same one afterwards") {
    {
        const never_blocks home;
        std::jthread([] { may_block(); }).join();
    }
    may_block();
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
