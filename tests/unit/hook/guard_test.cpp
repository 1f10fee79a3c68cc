// The whole hook with a real script: whoever ends, hangs or talks nonsense, nothing stays frozen.

#include "tests/unit/hook/hook_child.hpp"

using namespace farshore;
using namespace farshore::hook;
using nlohmann::json;

namespace {

/// A script that only force releases: it does not look at its input.
const script_parts deaf{.during = "sleep 1234 & echo $! >child; wait"};

std::string words_in(const json &said, const char *event) {
    REQUIRE_MESSAGE((said.is_object() && said["event"] == event), said.dump());
    return said["message"];
}

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("process: frozen, released, proved") {
        const script_rig rig;
        hook_child child;
        child.freeze(rig.asked);
        CHECK(rig.has("state"));
        child.say(R"({"command": "release"})");
        const auto said = child.event();
        CHECK(words_in(said, "released").empty());
        CHECK(said["proved"] == true);
        CHECK(child.code() == 0);
        CHECK_FALSE(rig.has("state"));
    }
    TEST_CASE("process: a sender that is gone, silent, or talks nonsense") {
        script_rig rig;
        hook_child child;
        SUBCASE("gone") {
            child.freeze(rig.asked);
            child.close_input();
            CHECK(words_in(child.event(), "expired").contains("the sender is gone"));
        }
        SUBCASE("silent") {
            rig.asked.timeout = std::chrono::milliseconds(500);
            child.freeze(rig.asked);
            CHECK(words_in(child.event(), "expired").contains("the time of 500 ms is over"));
        }
        SUBCASE("nonsense") {
            child.freeze(rig.asked);
            child.say(R"({"command": "stay"})");
            CHECK(words_in(child.event(), "expired").contains("no command"));
        }
        SUBCASE("without end") {
            child.freeze(rig.asked);
            child.say(std::string(40'000, ' '));
            CHECK(words_in(child.event(), "expired").contains("no command"));
        }
        SUBCASE("told to stop") {
            child.freeze(rig.asked);
            ::kill(child.pid(), SIGTERM);
            CHECK(words_in(child.event(), "expired").contains("told to stop"));
        }
        SUBCASE("does not listen") {
            child.freeze(rig.asked);
            child.close_output();
        }
        CHECK(child.code() == 3);
        CHECK(comes_true([&] { return !rig.has("state"); }));
        CHECK_FALSE(rig.has("forced"));
    }
    TEST_CASE("process: a reader that takes nothing is not waited for") {
        const script_rig rig;
        hook_child child(true);
        child.say(request_line(rig.asked).dump());
        CHECK(child.code() == 3);
        CHECK_FALSE(rig.has("state"));
    }
    TEST_CASE("process: requests that are none") {
        hook_child child;
        SUBCASE("too long") {
            child.say(std::string(2'000'000, ' '));
            CHECK(words_in(child.event(), "failed").contains("too long"));
        }
        SUBCASE("nothing") {
            child.close_input();
            CHECK(words_in(child.event(), "failed").contains("without a request"));
        }
        SUBCASE("no JSON") {
            child.say("freeze please");
            CHECK(words_in(child.event(), "failed").contains("JSON"));
        }
        CHECK(child.code() == 1);
    }
    TEST_CASE("process: a guard that was killed leaves nothing frozen") {
        const script_rig rig;
        hook_child child;
        child.freeze(rig.asked);
        REQUIRE(child.worker() > 1);
        ::kill(child.pid(), SIGKILL);
        CHECK(comes_true([&] { return !rig.has("state"); }));
        CHECK(comes_true([&] { return process_gone(child.worker()); }));
    }
    TEST_CASE("process: a worker that was killed is released by force") {
        const script_rig rig(deaf);
        hook_child child;
        child.freeze(rig.asked);
        REQUIRE(child.worker() > 1);
        ::kill(child.worker(), SIGKILL);
        CHECK(words_in(child.event(), "expired").contains("released by force"));
        CHECK(child.code() == 3);
        CHECK(rig.has("forced"));
        CHECK_FALSE(rig.has("state"));
    }
    TEST_CASE("process: a worker that stands still is released by force") {
        const script_rig rig;
        hook_child child;
        child.freeze(rig.asked);
        REQUIRE(child.worker() > 1);
        ::kill(child.worker(), SIGSTOP);
        child.close_input();
        CHECK(words_in(child.event(), "expired").contains("released by force"));
        CHECK(child.code() == 3);
        CHECK_FALSE(rig.has("state"));
    }
    TEST_CASE("process: a script that hangs before it is frozen is released by force") {
        script_rig rig({.before = "sleep 1234 & echo $! >child; wait"});
        rig.asked.timeout = std::chrono::milliseconds(500);
        hook_child child;
        child.say(request_line(rig.asked).dump());
        const std::string why = words_in(child.event(), "expired");
        CHECK(why.contains("the time of 500 ms is over"));
        CHECK(why.contains("released by force"));
        CHECK(child.code() == 3);
        CHECK(rig.has("forced"));
    }
    TEST_CASE("process: a group with as many volumes as it may have is frozen") {
        const script_rig rig;
        json line = request_line(rig.asked);
        for (int i = 0; i < 1024; ++i) {
            line["volumes"].push_back({{"name", fmt::format("volume-{}", i)},
                                       {"path", fmt::format("/srv/volumes/of/shop/{}.img", i)}});
        }
        hook_child child;
        child.say(line.dump());
        const auto said = child.event();
        REQUIRE_MESSAGE((said.is_object() && said["event"] == "frozen"), said.dump());
        child.say(R"({"command": "release"})");
        CHECK(child.event()["proved"] == true);
    }
}
