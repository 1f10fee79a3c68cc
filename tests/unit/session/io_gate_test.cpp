// Who is let to a group's volumes, and when all that were let in are out again.

#include "replicator/session/io_gate.hpp"
#include "tests/support/memory_device.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <thread>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("session");

TEST_CASE("gate: held, nobody comes in and those inside go on; shut, all of it is refused") {
    const auto gate = std::make_shared<io_gate>();
    const auto device =
        make_gated_device(std::make_shared<test::memory_device>(std::size_t{8192}), gate);
    byte_vector block(512);
    REQUIRE(device->enter());
    CHECK_FALSE(gate->idle());
    gate->hold();
    CHECK(device->held());
    CHECK_FALSE(device->enter());
    CHECK(device->write(0, block, false)); // of who is inside
    CHECK_FALSE(gate->idle());
    device->leave();
    CHECK(gate->idle());
    gate->let_in();
    CHECK(device->enter());
    gate->shut();
    CHECK_FALSE(device->held());
    CHECK(is_errno(device->write(0, block, false).error(), ESHUTDOWN));
    CHECK(is_errno(device->read(0, block).error(), ESHUTDOWN));
    CHECK(is_errno(device->flush().error(), ESHUTDOWN));
    device->leave();
    gate->hold(); // what is shut stays so
    CHECK(gate->now() == io_gate::state::shut);
    CHECK(device->enter()); // to be refused
    device->leave();
}

TEST_CASE("gate: whoever is let in is seen by who holds it, whatever comes first") {
    io_gate gate;
    std::atomic<bool> proved = false;
    std::atomic<std::uint64_t> wrong = 0;
    std::atomic<bool> over = false;
    std::jthread client([&] {
        while (!over) {
            if (gate.enter()) {
                wrong += proved ? 1 : 0; // a write after the last barrier was proved
                gate.leave();
            }
        }
    });
    for (int i = 0; i < 20'000; ++i) {
        gate.hold();
        while (!gate.idle()) {
        }
        proved = true;
        proved = false;
        gate.let_in();
    }
    over = true;
    client.join();
    CHECK(wrong == 0);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
