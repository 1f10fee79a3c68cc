#include "tests/unit/daemon/fake_engines.hpp"

namespace farshore {

using namespace fakes;

TEST_SUITE("rehearsal_commands") {
    TEST_CASE("an attached opening may be writable and mounted") {
        receiver_rig r;
        r.refuses("open_attached", {{"group", "shop"}, {"space_bytes", 8192}}, "usage", 2);
        r.refuses("open_attached", {{"group", "shop"}, {"writable", true}, {"space_bytes", 4095}},
                  "usage", 2);
        CHECK(r.engine.calls.empty());
        r.io.restart();
        asio::cancellation_signal hang_up;
        asio::co_spawn(
            r.io,
            r.commands.run(
                "open_attached",
                {{"group", "shop"}, {"writable", true}, {"space_bytes", 8192}, {"mount", true}},
                [](json) {}),
            asio::bind_cancellation_slot(hang_up.slot(),
                                         [](std::exception_ptr, control::outcome) {}));
        r.io.poll();
        CHECK(r.engine.asked.writable);
        CHECK(r.engine.asked.mount_attached);
        CHECK(r.engine.asked.space_bytes == 8192U);
        hang_up.emit(asio::cancellation_type::terminal);
        r.io.poll();
        CHECK(r.owner.running() == 0);
    }

    TEST_CASE("what a rehearsal found is noted on its point") {
        receiver_rig r;
        const auto done = r.run("note_test", {{"group", "shop"},
                                              {"point", "17"},
                                              {"name", "nightly"},
                                              {"passed", true},
                                              {"took_ms", 1500},
                                              {"message", "all good"}});
        REQUIRE(done);
        CHECK((*done)["done"] == "noted");
        CHECK(r.engine.noted.passed);
        CHECK(r.engine.noted.name == "nightly");
        CHECK(r.engine.noted.took == std::chrono::milliseconds(1500));
        CHECK(r.engine.noted.message == "all good");
        r.refuses("note_test", {{"group", "shop"}, {"point", "18"}}, "not_found", 10);
        r.refuses("note_test", {{"group", "shop"}, {"point", "latest"}}, "usage", 2);
        r.refuses("note_test", {{"group", "shop"}, {"point", "17"}, {"name", "a b"}}, "usage", 2);
        r.refuses("note_test", {{"group", "shop"}}, "usage", 2);
    }
}

} // namespace farshore
