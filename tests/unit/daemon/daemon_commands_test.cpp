#include "tests/unit/daemon/fake_engines.hpp"

namespace farshore {

using namespace fakes;

TEST_SUITE("daemon_commands") {
    TEST_CASE("the sender's commands reach the engine and answer with their documents") {
        sender_rig r;
        CHECK((*r.run("status", json::object()))["groups"].size() == 2);
        CHECK((*r.run("status", shop))["groups"].size() == 1);
        CHECK((*r.run("wait", shop))["point"] == "17");
        CHECK(r.engine.timeout == wait_forever);
        CHECK((*r.run("wait",
                      {{"group", "shop"}, {"durable", true}, {"timeout_ms", 5}}))["applied"] ==
              false);
        CHECK(r.engine.timeout == duration(std::chrono::milliseconds(5)));
        const auto made =
            r.run("bookmark", {{"group", "shop"}, {"name", "n"}, {"app", true}, {"keep_ms", 5}});
        REQUIRE(made);
        CHECK((*made)["kind"] == "app");
        CHECK((*made)["hooks"][0]["freeze_ms"] == 3.0);
        CHECK(r.engine.timeout == bookmark_timeout_default);
        CHECK((*r.run("pause", shop))["done"] == "paused");
        CHECK((*r.run("resume", shop))["done"] == "resumed");
        CHECK(r.run("resync", shop).has_value());
        CHECK(r.run("resync", {{"group", "shop"}, {"full", true}}).has_value());
        CHECK((*r.run("verify", shop))["equal"] == true);
        CHECK(r.progress.at(0) == json{{"done_bytes", 1}, {"total_bytes", 2}});
        CHECK((*r.run("join", {{"token", "good"}}))["fingerprint"] == "ab");
        CHECK((*r.run("peers", json::object()))["peers"].size() == 1);
        CHECK(r.run("unpair", shop).has_value());
        CHECK(r.engine.calls ==
              std::vector<std::string>{"wait shop", "wait-durable shop", "bookmark shop",
                                       "pause shop", "resume shop", "resync shop",
                                       "resync-full shop", "verify shop", "unpair shop"});
    }

    TEST_CASE("the throttle is set, shown and cleared") {
        sender_rig r;
        const auto set = r.run("throttle_set",
                               {{"bytes_per_second", 5000}, {"group", "shop"}, {"for_ms", 1000}});
        REQUIRE(set);
        CHECK((*set)["groups"].size() == 1);
        CHECK((*set)["groups"][0]["limit_bytes_per_second"] == 5000);
        CHECK(r.engine.lasts == duration(std::chrono::seconds(1)));
        CHECK((*r.run("throttle_show", json::object()))["groups"].size() == 2);
        // Without a group it is the daemon's whole use of the line, and the groups' own stay.
        const auto all = r.run("throttle_set", {{"bytes_per_second", 9000}});
        REQUIRE(all);
        CHECK((*all)["daemon"] ==
              json{{"limit_bytes_per_second", 9000}, {"source", "set"}, {"until", nullptr}});
        CHECK((*all)["groups"][0]["limit_bytes_per_second"] == 5000);
        CHECK((*r.run("throttle_clear", shop))["groups"][0]["source"] == "none");
        CHECK((*r.run("throttle_show", shop))["daemon"]["limit_bytes_per_second"] == 9000);
        CHECK((*r.run("throttle_clear", json::object()))["daemon"]["source"] == "none");
        CHECK(
            r.run("throttle_set", {{"bytes_per_second", nullptr}, {"group", "shop"}}).has_value());
        CHECK(!r.engine.rate);
        r.refuses("throttle_set", {{"bytes_per_second", 0}}, "usage", 2);
        r.refuses("throttle_set", {{"bytes_per_second", -5}}, "usage", 2);
        r.refuses("throttle_set", {{"bytes_per_second", "5"}}, "usage", 2);
    }

    TEST_CASE("failures of the engine come out with word and exit code") {
        sender_rig r;
        const json other{{"group", "other"}};
        for (const char *command : {"status", "wait", "pause", "resume", "resync", "verify",
                                    "unpair", "throttle_show", "throttle_clear"}) {
            r.refuses(command, other, "not_found", 10);
        }
        r.refuses("join", {{"token", "bad"}}, "not_trusted", 12);
    }

    TEST_CASE("requests with wrong arguments are usage errors and reach no engine") {
        sender_rig r;
        r.refuses("wait", json::object(), "usage", 2);
        r.refuses("wait", {{"group", 5}}, "usage", 2);
        r.refuses("wait", {{"group", "shop"}, {"timeout_ms", -1}}, "usage", 2);
        r.refuses("wait", {{"group", "shop"}, {"timeout_ms", 1e30}}, "usage", 2);
        r.refuses("wait", {{"group", "shop"}, {"timeout_ms", 18446744073709551615ULL}}, "usage", 2);
        r.refuses("wait", {{"group", "shop"}, {"durable", "yes"}}, "usage", 2);
        r.refuses("pause", {{"group", "shop"}, {"extra", 1}}, "usage", 2);
        r.refuses("bookmark", shop, "usage", 2);
        r.refuses("pause", {{"group", ""}}, "usage", 2);
        r.refuses("points", shop, "usage", 2);
        CHECK(r.run("points", shop).error().message ==
              "the sender has no command \"points\"; the receiver has: run it at the DR site, or "
              "name its socket with --socket");
        CHECK(r.run("nonsense", shop).error().message == "the sender has no command \"nonsense\"");
        r.refuses("", json::object(), "usage", 2);
        CHECK(r.engine.calls.empty());
    }

    TEST_CASE("the receiver's commands reach the engine and answer with their documents") {
        receiver_rig r;
        CHECK((*r.run("status", shop))["role"] == "receiver");
        CHECK((*r.run("points", shop))["points"][0]["id"] == "17");
        CHECK((*r.run("open", {{"group", "shop"}, {"nbd", "unix:/x"}, {"point", "17"}}))["uris"] ==
              json{{"data", "uri"}});
        CHECK(r.engine.calls ==
              std::vector<std::string>{"reach shop ", "reach shop 17", "open shop 17 unix:/x"});
        CHECK((*r.run("opened", json::object()))["opened"].size() == 1);
        CHECK(r.run("close", {{"id", "1"}}).has_value());
        CHECK((*r.run("invitations", json::object()))["invitations"][0]["id"] == "0123456789ab");
        CHECK((*r.run("revoke", {{"id", "0123456789ab"}}))["done"] == "revoked");
        r.refuses("revoke", {{"id", "x"}}, "not_found", 10);
        CHECK((*r.run("invite", {{"group", "shop"}, {"address", "dr:1"}}))["token"] ==
              "token-for-dr:1");
        CHECK((*r.run("peers", json::object()))["peers"].empty());
        CHECK(r.run("unpair", shop).has_value());
        r.refuses("close", {{"id", "2"}}, "not_found", 10);
        r.refuses("points", {{"group", "other"}}, "not_found", 10);
        CHECK((*r.run("points", shop))["held_back"] == "it differs");
        r.refuses("status", {{"group", "other"}}, "not_found", 10);
        r.refuses("open", shop, "usage", 2);
        r.refuses("wait", shop, "usage", 2);
    }

    TEST_CASE("points are pinned, unpinned and forgotten when they are reached") {
        receiver_rig r;
        const json arguments{{"group", "shop"}, {"point", "17"}};
        CHECK((*r.run("pin", arguments))["done"] == "pinned");
        CHECK((*r.run("unpin", arguments))["point"] == "17");
        CHECK(r.engine.calls == std::vector<std::string>{"reach shop 17", "pin shop 17",
                                                         "reach shop 17", "unpin shop 17"});
        r.refuses("forget", arguments, "would_lose_data", 13);
        r.refuses("pin", {{"group", "shop"}}, "usage", 2);
        r.engine.reachable = false;
        r.refuses("pin", arguments, "not_in_sync", 14);
    }

    TEST_CASE("other rules and sizes are tried, and what is no rule is said") {
        receiver_rig r;
        const auto as_it_is = *r.run("plan", {{"group", "shop"}});
        CHECK(as_it_is["now"]["points"] == 9);
        CHECK(as_it_is["then"]["points"] == 5);
        CHECK(as_it_is["dropped_points"] == 4);
        CHECK(as_it_is["limit_bytes"] == 100);
        const auto tried = *r.run(
            "plan", {{"group", "shop"}, {"retain", "all 1h, 1m 24h,1h 7d"}, {"journal_bytes", 7}});
        CHECK(tried["then"]["points"] == 3);
        CHECK(tried["limit_bytes"] == 7);
        for (const char *wrong : {"all", "all 1h,", ",", "1h 1m", "all 1h;1m 2h"}) {
            CAPTURE(wrong);
            r.refuses("plan", {{"group", "shop"}, {"retain", wrong}}, "usage", 2);
        }
    }

    TEST_CASE("a scrub is begun, or waited for with what it found") {
        receiver_rig r;
        CHECK((*r.run("scrub", {{"group", "shop"}}))["done"] == "scrub_started");
        const auto found = *r.run("scrub", {{"group", "shop"}, {"wait", true}});
        CHECK(found["group"] == "shop");
        CHECK(found["read_bytes"] == 77);
        CHECK(found["compared"] == true);
        CHECK(found["damaged_count"] == 1);
        const control::json &d = found["damaged"][0];
        CHECK(d["what"] == "history");
        CHECK(d["volume"] == "data");
        CHECK(d["offset"] == 4096);
        CHECK(d["length"] == 8192);
        CHECK(d["interval"] == 9);
        CHECK(d["points"] == control::json::array({"7", "8"}));
        r.refuses("scrub", {{"wait", true}}, "usage", 2);
    }

    TEST_CASE("open: writable with its space, mounted, and what does not fit together") {
        receiver_rig r;
        CHECK(r.run(
            "open",
            {{"group", "shop"}, {"mount", "/mnt/x"}, {"writable", true}, {"space_bytes", 8192}}));
        CHECK(r.engine.asked.writable);
        CHECK(r.engine.asked.space_bytes == 8192U);
        CHECK(r.engine.asked.mount == "/mnt/x");
        CHECK(r.engine.asked.nbd.empty());
        r.refuses("open", {{"group", "shop"}, {"writable", true}}, "usage", 2);
        r.refuses("open", {{"group", "shop"}, {"nbd", "unix:/x"}, {"space_bytes", 8192}}, "usage",
                  2);
        for (const std::uint64_t bytes :
             {std::uint64_t{0}, std::uint64_t{4095}, limits::overlay_space_max + 1}) {
            r.refuses(
                "open",
                {{"group", "shop"}, {"nbd", "unix:/x"}, {"writable", true}, {"space_bytes", bytes}},
                "usage", 2);
        }
    }

    TEST_CASE("what is durable is reached before a point is opened, unless what is applied is "
              "asked for") {
        receiver_rig r;
        const json arguments{{"group", "shop"}, {"nbd", "unix:/x"}, {"point", "latest"}};
        CHECK(r.run("open", arguments));
        CHECK(r.engine.calls ==
              std::vector<std::string>{"reach shop latest", "open shop latest unix:/x"});
        CHECK(r.progress.size() == 1);
        CHECK(r.progress.front() == json{{"done_bytes", 1}, {"total_bytes", 2}});
        r.engine.calls.clear();
        r.engine.reachable = false;
        r.refuses("open", arguments, "not_in_sync", 14);
        CHECK(r.engine.calls == std::vector<std::string>{"reach shop latest"});
        CHECK(r.run("points", {{"group", "shop"}})); // says what there is
        r.engine.calls.clear();
        json as_it_is = arguments;
        as_it_is["applied"] = true;
        as_it_is["suspect"] = true;
        CHECK(r.run("open", as_it_is));
        CHECK(r.engine.calls == std::vector<std::string>{"open shop latest unix:/x suspect"});
    }

    TEST_CASE("an attached opening is closed when its client hangs up, also in the middle") {
        for (const bool in_the_middle : {false, true}) {
            CAPTURE(in_the_middle);
            receiver_rig r;
            r.engine.hold_open = in_the_middle;
            asio::cancellation_signal hang_up;
            std::vector<json> told;
            asio::co_spawn(r.io,
                           r.commands.run("open_attached", {{"group", "shop"}, {"point", "-5m"}},
                                          [&](json p) { told.push_back(std::move(p)); }),
                           asio::bind_cancellation_slot(
                               hang_up.slot(), [](std::exception_ptr, control::outcome) {}));
            r.io.poll();
            if (!in_the_middle) {
                REQUIRE(told.size() == 2);
                CHECK(told[1]["opened"]["uris"] == json{{"data", "uri"}});
                CHECK(told[1]["opened"]["facts"]["id"] == "17");
                CHECK(told[1]["opened"]["start"] == json::array({{{"name", "db"},
                                                                  {"run", {"/bin/db"}},
                                                                  {"probe", {"/bin/probe", "-q"}},
                                                                  {"timeout_ms", 90000}}}));
            }
            hang_up.emit(asio::cancellation_type::terminal);
            r.io.poll();
            r.engine.release_open.notify_all();
            r.io.poll();
            CHECK(r.engine.calls ==
                  std::vector<std::string>{"reach shop -5m", "open_attached shop -5m", "close 1"});
            CHECK(r.owner.running() == 0);
        }
    }

    TEST_CASE("an attached opening that fails says why, and where a seed belongs is told") {
        receiver_rig r;
        r.refuses("open_attached", {{"group", "none"}}, "not_found", 10);
        CHECK(r.owner.running() == 0);
        CHECK((*r.run("seed_target", shop))["directory"] == "/srv/replica");
    }

    TEST_CASE("a verify goes on when its client hangs up") {
        sender_rig r;
        r.engine.hold_verify = true;
        asio::cancellation_signal hang_up;
        bool cancelled = false;
        asio::co_spawn(r.io, r.commands.run("verify", shop, [](json) {}),
                       asio::bind_cancellation_slot(
                           hang_up.slot(), [&](std::exception_ptr thrown, control::outcome) {
                               cancelled = thrown != nullptr;
                           }));
        r.io.poll();
        hang_up.emit(asio::cancellation_type::terminal);
        r.io.poll();
        CHECK(cancelled);
        CHECK(r.engine.verified == 0);
        CHECK(r.owner.running() == 1);
        r.engine.release_verify.notify_all();
        r.io.poll();
        CHECK(r.engine.verified == 1);
        CHECK(r.owner.running() == 0);
    }
}

} // namespace farshore
