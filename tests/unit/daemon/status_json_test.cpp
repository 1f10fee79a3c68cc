#include "replicator/cli/render.hpp"
#include "replicator/daemon/status_json.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>

namespace farshore {
namespace {

using std::chrono::milliseconds;

std::set<std::string> keys_of(const json &object) {
    std::set<std::string> keys;
    for (const auto &[key, value] : object.items()) {
        keys.insert(key);
    }
    return keys;
}

sender_group_status shop() {
    sender_group_status g;
    g.name = "shop";
    g.state = sender_state::streaming;
    g.peer = "dr.example.net:7420";
    g.connected = true;
    g.lag_seconds = 0.8004;
    g.lag_bytes = 1048576;
    g.lag_intervals = 1;
    g.last_barrier = barrier_info{interval_id{4711}, wall_time(milliseconds(1767225600000))};
    g.bytes_written = 1000;
    g.bytes_folded = 900;
    g.bytes_encoded = 90;
    g.bytes_wire = 100;
    g.spool_used_bytes = 7;
    g.spool_limit_bytes = 70;
    g.volumes = {{"data", 4096, 64}};
    return g;
}

} // namespace

TEST_SUITE("status_json") {
    TEST_CASE("the sender's status has the keys of the contract") {
        const json d = sender_status_document({shop()});
        CHECK(d["role"] == "sender");
        CHECK(d["version"] == FARSHORE_VERSION);
        const json &g = d["groups"][0];
        for (const char *key : {"name", "state", "peer", "connected", "lag", "last_barrier",
                                "durable_barrier", "bytes", "sync", "throttle", "spool", "volumes",
                                "warnings", "error", "serves", "generation"}) {
            CAPTURE(key);
            CHECK(g.contains(key));
        }
        CHECK(g["state"] == "streaming");
        CHECK(g["lag"] == json{{"seconds", 0.8}, {"bytes", 1048576}, {"intervals", 1}});
        CHECK(g["last_barrier"] == json{{"id", 4711}, {"time", "2026-01-01T00:00:00.000Z"}});
        CHECK(g["durable_barrier"].is_null());
        CHECK(g["bytes"] ==
              json{{"written", 1000}, {"folded", 900}, {"encoded", 90}, {"wire", 100}});
        CHECK(g["sync"]["eta_seconds"].is_null());
        CHECK(g["throttle"] == json{{"limit_bytes_per_second", nullptr}, {"source", "none"}});
        CHECK(g["spool"] == json{{"used_bytes", 7}, {"limit_bytes", 70}});
        CHECK(g["volumes"] == json::array({{{"name", "data"},
                                            {"size", 4096},
                                            {"dirty_bytes", 64},
                                            {"unreadable_bytes", 0},
                                            {"unreadable", json::array()}}}));
        CHECK(g["error"].is_null());
    }

    TEST_CASE("the receiver's status has the keys of the contract") {
        receiver_group_status g;
        g.name = "shop";
        g.state = receiver_state::following;
        g.points = 2;
        g.newest_point.emplace();
        g.newest_point->id = "9";
        g.error = "disk full";
        const json d = receiver_status_document({g});
        CHECK(d["role"] == "receiver");
        const json &o = d["groups"][0];
        CHECK(keys_of(o) == std::set<std::string>{"name",
                                                  "state",
                                                  "connected",
                                                  "applied_barrier",
                                                  "durable_barrier",
                                                  "points",
                                                  "oldest_point",
                                                  "newest_point",
                                                  "journal",
                                                  "bytes",
                                                  "volumes",
                                                  "warnings",
                                                  "error",
                                                  "replay",
                                                  "suspect_points",
                                                  "points_held_back",
                                                  "opened",
                                                  "damaged_points",
                                                  "scrub",
                                                  "last_test",
                                                  "serves",
                                                  "generation",
                                                  "serving"});
        CHECK(o["generation"].is_null());
        CHECK_FALSE(o["serves"].get<bool>());
        g.role.generation = generation_status{"0a", "", {}};
        CHECK(to_json(g)["generation"] ==
              json{{"id", "0a"}, {"parent", nullptr}, {"since_barrier", nullptr}});
        g.role.generation = generation_status{"0b", "0a", interval_id{7}};
        CHECK(to_json(g)["generation"] ==
              json{{"id", "0b"}, {"parent", "0a"}, {"since_barrier", 7}});
        CHECK(o["last_test"].is_null());
        CHECK(o["scrub"].is_null());
        CHECK(o["replay"].is_null());
        CHECK(o["points_held_back"].is_null());
        CHECK(o["opened"] == json{{"count", 0}, {"oldest_seconds", 0.0}});
        g.state = receiver_state::replaying;
        g.replay = replay_status{10, 40, 1.5};
        g.held_back = "it differs";
        g.damaged_points = 3;
        g.tests = tests_status{wall_time(milliseconds(1500)), "7", false, wall_time{}};
        g.scrub = scrub_status{true, 10, 40, wall_time{}, 2, "no sender is connected"};
        const json replaying = receiver_status_document({g})["groups"][0];
        CHECK(replaying["state"] == "replaying");
        CHECK(replaying["replay"] ==
              json{{"done_bytes", 10}, {"total_bytes", 40}, {"eta_seconds", 1.5}});
        CHECK(replaying["points_held_back"] == "it differs");
        CHECK(replaying["last_test"] == json{{"time", "1970-01-01T00:00:01.500Z"},
                                             {"point", "7"},
                                             {"passed", false},
                                             {"last_passed", "1970-01-01T00:00:00.000Z"}});
        CHECK(replaying["damaged_points"] == 3);
        CHECK(replaying["scrub"] == json{{"running", true},
                                         {"done_bytes", 10},
                                         {"total_bytes", 40},
                                         {"last_finished", "1970-01-01T00:00:00.000Z"},
                                         {"damaged", 2},
                                         {"waits", "no sender is connected"}});
        CHECK(o["points"] == 2);
        CHECK(o["oldest_point"].is_null());
        CHECK(o["newest_point"] ==
              json{{"id", "9"}, {"time", "1970-01-01T00:00:00.000Z"}, {"age_seconds", 0.0}});
        CHECK(keys_of(o["journal"]) == std::set<std::string>{"used_bytes", "limit_bytes"});
        CHECK(keys_of(o["bytes"]) == std::set<std::string>{"wire", "applied"});
        CHECK(o["error"] == "disk full");
    }

    TEST_CASE("the other documents have the keys of the contract") {
        CHECK(keys_of(to_json(wait_outcome{})) ==
              std::set<std::string>{"group", "point", "barrier", "time", "applied"});
        point_info hooked;
        hooked.hooks = R"([{"name":"db"}])";
        CHECK(to_json(hooked)["hooks"][0]["name"] == "db");
        hooked.hooks = "damaged";
        CHECK(to_json(hooked)["hooks"] == json::array());
        CHECK(keys_of(to_json(point_info{})) ==
              std::set<std::string>{"id", "time", "arrived", "age_seconds", "kind", "name", "note",
                                    "hooks", "pinned", "size_bytes", "suspect", "damaged",
                                    "kept_by", "until", "tests"});
        CHECK(keys_of(to_json(scrub_outcome{})) ==
              std::set<std::string>{"group", "read_bytes", "damaged", "damaged_count", "compared",
                                    "not_compared"});
        opened_point o;
        o.id = "3";
        o.group = "shop";
        o.point = "9";
        o.exports = {{"data", "nbd+unix:///data?socket=x"}};
        CHECK(to_json(o) == json{{"id", "3"},
                                 {"group", "shop"},
                                 {"point", "9"},
                                 {"writable", false},
                                 {"uris", {{"data", "nbd+unix:///data?socket=x"}}},
                                 {"space", nullptr},
                                 {"mount", nullptr},
                                 {"mounts", json::object()},
                                 {"served", true},
                                 {"error", nullptr}});
        o.writable = true;
        o.space_used_bytes = 4096;
        o.space_limit_bytes = 8192;
        o.mount = "/mnt/x";
        o.mounts = {{"data", "/mnt/x/data"}};
        o.served = false;
        o.error = "its point is waited for";
        const json w = to_json(o);
        CHECK(w["space"] == json{{"used_bytes", 4096}, {"limit_bytes", 8192}});
        CHECK(w["mount"] == "/mnt/x");
        CHECK(w["mounts"] == json{{"data", "/mnt/x/data"}});
        CHECK(w["served"] == false);
        CHECK(w["error"] == "its point is waited for");
        verify_outcome v{"shop", interval_id{5}, false, {{"data", {4096, 8192}}}};
        CHECK(to_json(v) ==
              json{{"group", "shop"},
                   {"barrier", 5},
                   {"equal", false},
                   {"differences",
                    json::array({{{"volume", "data"}, {"offset", 4096}, {"length", 8192}}})}});
        CHECK(keys_of(to_json(invitation{})) == std::set<std::string>{"token", "expires"});
        CHECK(keys_of(peers_document({{}})["peers"][0]) ==
              std::set<std::string>{"group", "address", "fingerprint", "connected"});
        auto g = shop();
        g.limit_bytes_per_second = 5000;
        g.limit_source = "override";
        g.limit_until = wall_time(milliseconds(0));
        CHECK(throttle_document({5000, "set", std::nullopt}, {g})["groups"][0] ==
              json{{"name", "shop"},
                   {"limit_bytes_per_second", 5000},
                   {"source", "override"},
                   {"until", "1970-01-01T00:00:00.000Z"}});
    }
}

TEST_SUITE("render") {
    TEST_CASE("a status shows one row a group, with what is known") {
        const std::string text = render_status(sender_status_document({shop()}), nullptr, 0);
        CHECK(text.find("GROUP") != std::string::npos);
        CHECK(text.find("streaming") != std::string::npos);
        CHECK(text.find("1.0 MiB") != std::string::npos);
        CHECK(text.find("90 %") != std::string::npos);
        CHECK(std::ranges::count_if(text, [](char c) { return c == '\n'; }) == 2);
    }

    TEST_CASE("the throughput comes from two samples") {
        auto later = shop();
        later.bytes_wire += 1'000'000;
        const std::string text =
            render_status(sender_status_document({later}), sender_status_document({shop()}), 2);
        CHECK(text.find("4.0 Mbit/s") != std::string::npos);
    }

    TEST_CASE("a receiver's status and documents with missing keys are shown too") {
        CHECK(render_status(receiver_status_document({{}}), nullptr, 0).find("empty") !=
              std::string::npos);
        CHECK(render_status(json::object(), nullptr, 0).empty());
        CHECK(
            render_status(json{{"groups", json::array({json::object()})}}, nullptr, 0).find("-") !=
            std::string::npos);
        CHECK(render_points(json::parse(R"({"points": [{"id": 5, "time": 3}]})")).find("5") !=
              std::string::npos);
    }

    TEST_CASE("saved is only said when less was sent than written") {
        CHECK(render_saved(0, 0) == "-");
        CHECK(render_saved(100, 150) == "-");
        CHECK(render_saved(100, 100) == "0 %");
        CHECK(render_saved(1000, 70) == "93 %");
    }

    TEST_CASE("saved is not said while something written has yet to be sent") {
        auto g = shop();
        for (const auto state : {sender_state::unpaired, sender_state::initial_sync,
                                 sender_state::tracking, sender_state::spooling}) {
            g.state = state;
            CHECK(render_status(sender_status_document({g}), nullptr, 0).find('%') ==
                  std::string::npos);
        }
    }

    TEST_CASE("open prints the id first, then the URIs") {
        const json d{{"id", 3}, {"uris", {{"data", "nbd+unix:///data?socket=x"}}}};
        CHECK(render_open(d) == "3\ndata nbd+unix:///data?socket=x\n");
    }

    TEST_CASE("differences are listed") {
        verify_outcome v{"shop", interval_id{5}, false, {{"data", {4096, 8192}}}};
        const std::string text = render_verify(to_json(v));
        CHECK(text.starts_with("shop at barrier 5: different\n"));
        CHECK(text.find("4096") != std::string::npos);
        v.equal = true;
        CHECK(render_verify(to_json(v)) == "shop at barrier 5: equal\n");
    }
}

} // namespace farshore
