#include "tests/unit/daemon/fake_engines.hpp"

namespace farshore {

using namespace fakes;

TEST_SUITE("report_commands") {
    TEST_CASE("a report has what was kept, lost at worst and rehearsed") {
        receiver_rig r;
        const auto done = r.run("report", {{"group", "shop"}, {"since_ms", 3600000}});
        REQUIRE(done);
        const json &g = (*done)["groups"][0];
        CHECK(g["name"] == "shop");
        CHECK(g["error"].is_null());
        CHECK(g["points"]["count"] == 2);
        CHECK(g["points"]["app"] == 1);
        CHECK(g["bookmarks"].size() == 1);
        CHECK(g["bookmarks"][0]["name"] == "monday");
        CHECK(g["rpo"]["worst_seconds"] == 2.5);
        CHECK(g["rpo"]["hours"].size() == 2);
        CHECK(g["rpo"]["hours"][1]["worst_seconds"].is_null());
        CHECK(g["rto"]["passed"] == 1);
        CHECK(g["rto"]["longest_seconds"] == 30.0);
        CHECK(g["rehearsals"][0]["bookmark"] == "monday");
        CHECK(r.engine.asked_since > wall_time(std::chrono::hours(24 * 365 * 50)));
    }

    TEST_CASE("of all groups one that is not served has its error") {
        receiver_rig r;
        const auto all = r.run("report", json::object());
        REQUIRE(all);
        REQUIRE((*all)["groups"].size() == 1);
        r.engine.report_fails = true;
        const auto failed = r.run("report", json::object());
        REQUIRE(failed);
        CHECK((*failed)["groups"][0]["name"] == "shop");
        CHECK((*failed)["groups"][0]["error"].get<std::string>().find("its disk") !=
              std::string::npos);
        r.engine.report_fails = false;
        r.refuses("report", {{"group", "nosuch"}}, "not_found", 10);
        r.refuses("report", {{"since_ms", "x"}}, "usage", 2);
    }
}

} // namespace farshore
