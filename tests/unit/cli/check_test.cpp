#include "replicator/cli/check.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

using nlohmann::json;

json sender(const char *state, double lag, bool connected = true) {
    return {{"role", "sender"},
            {"groups", json::array({{{"name", "shop"},
                                     {"state", state},
                                     {"connected", connected},
                                     {"lag", {{"seconds", lag}, {"bytes", 10}, {"intervals", 1}}},
                                     {"error", nullptr}}})}};
}

json receiver(const char *state, const json &newest) {
    return {
        {"role", "receiver"},
        {"groups", json::array({{{"name", "shop"}, {"state", state}, {"newest_point", newest}}})}};
}

check_level level_of(const json &status) {
    return judge(status, {}, wall_time(std::chrono::hours(10))).level;
}

} // namespace

TEST_SUITE("check") {
    TEST_CASE("a streaming group with little lag is ok, with performance data") {
        const auto v = judge(sender("streaming", 0.8), {}, wall_time());
        CHECK(v.level == check_level::ok);
        CHECK(v.line.starts_with(
            "FARSHORE OK - shop streaming, lag 0.8 s | 'shop_lag'=0.800s;;300;0"));
        CHECK(v.document["code"] == 0);
        CHECK(v.document["status"] == "ok");
    }

    TEST_CASE("too much lag is critical, at the limit it is not") {
        CHECK(level_of(sender("streaming", 300)) == check_level::ok);
        CHECK(level_of(sender("streaming", 300.1)) == check_level::critical);
        CHECK(level_of(sender("spooling", 301)) == check_level::critical);
    }

    TEST_CASE("states that protect but need a look warn, those that don't protect are critical") {
        for (const char *s : {"initial_sync", "spooling", "tracking", "catching_up", "paused"}) {
            CAPTURE(s);
            CHECK(level_of(sender(s, 1)) == check_level::warning);
        }
        for (const char *s : {"failed", "unpaired"}) {
            CAPTURE(s);
            CHECK(level_of(sender(s, 1)) == check_level::critical);
        }
        CHECK(level_of(sender("streaming", 1, false)) == check_level::warning);
        CHECK(level_of(sender("something new", 1)) == check_level::unknown);
    }

    TEST_CASE("the age of the newest point decides at the receiver") {
        const json at_nine{{"id", "1"}, {"time", "1970-01-01T09:00:00.000Z"}};
        const json before{{"id", "1"}, {"time", "1970-01-01T08:59:59.000Z"}};
        CHECK(level_of(receiver("following", at_nine)) == check_level::ok);
        CHECK(level_of(receiver("following", before)) == check_level::critical);
        CHECK(level_of(receiver("following", nullptr)) == check_level::critical);
        CHECK(level_of(receiver("receiving_sync", at_nine)) == check_level::warning);
        // What the daemon says of the age counts, not the time by the primary's clock.
        CHECK(level_of(receiver("following", {{"id", "1"},
                                              {"time", "1971-01-01T00:00:00.000Z"},
                                              {"age_seconds", 3601}})) == check_level::critical);
        CHECK(level_of(receiver("following", {{"id", "1"},
                                              {"time", "1970-01-01T08:00:00.000Z"},
                                              {"age_seconds", 10}})) == check_level::ok);
    }

    TEST_CASE("the worst group decides, and critical is worse than unknown") {
        json two = sender("streaming", 1);
        two["groups"].push_back(sender("failed", 1)["groups"][0]);
        two["groups"].push_back(sender("something new", 1)["groups"][0]);
        CHECK(level_of(two) == check_level::critical);
    }

    TEST_CASE("a damaged point is critical, however good the newest is") {
        json r = receiver("following", {{"time", "1970-01-01T10:00:00Z"}});
        CHECK(level_of(r) == check_level::ok);
        r["groups"][0]["damaged_points"] = 2U;
        CHECK(level_of(r) == check_level::critical);
        CHECK(judge(r, {}, wall_time(std::chrono::hours(10))).line.find("2 damaged point(s)") !=
              std::string::npos);
    }

    TEST_CASE("rehearsals: a failed one warns, and none that passed in time is critical") {
        const json point{{"time", "1970-01-01T10:00:00Z"}};
        const auto with = [&](const json &last, bool asked) {
            json r = receiver("following", point);
            r["groups"][0]["last_test"] = last;
            check_limits limits;
            if (asked) {
                limits.test_age_max = std::chrono::hours(2);
            }
            return judge(r, limits, wall_time(std::chrono::hours(10)));
        };
        const auto tested = [](bool passed, const json &last_passed) {
            return json{{"time", "1970-01-01T09:30:00.000Z"},
                        {"point", "7"},
                        {"passed", passed},
                        {"last_passed", last_passed}};
        };
        const std::string in_time = "1970-01-01T08:00:00.000Z";
        const std::string before = "1970-01-01T07:59:59.000Z";
        struct row {
            json last;
            check_level unasked;
            check_level asked;
        };
        for (const row &r :
             {row{nullptr, check_level::ok, check_level::critical},
              row{tested(true, in_time), check_level::ok, check_level::ok},
              row{tested(true, before), check_level::ok, check_level::critical},
              row{tested(false, in_time), check_level::warning, check_level::warning},
              row{tested(false, before), check_level::warning, check_level::critical},
              row{tested(false, nullptr), check_level::warning, check_level::critical}}) {
            CAPTURE(r.last.dump());
            CHECK(with(r.last, false).level == r.unasked);
            CHECK(with(r.last, true).level == r.asked);
        }
        CHECK(with(tested(true, in_time), true).line.find("'shop_test_age'=7200s;;7200;0") !=
              std::string::npos);
    }

    TEST_CASE("an error is shown on the one line, without what would break it") {
        json s = sender("streaming", 1);
        s["groups"][0]["error"] = "no space | in\nspool";
        const auto v = judge(s, {}, wall_time());
        CHECK(v.level == check_level::warning);
        CHECK(v.line.find("no space / in spool") != std::string::npos);
        CHECK(v.line.find('\n') == std::string::npos);
    }

    TEST_CASE("a warning warns") {
        json s = sender("streaming", 1);
        s["groups"][0]["warnings"] = json::array({"the certificate ends"});
        const auto v = judge(s, {}, wall_time());
        CHECK(v.level == check_level::warning);
        CHECK(v.line.find("the certificate ends") != std::string::npos);
    }

    TEST_CASE("no group is unknown") {
        CHECK(level_of({{"role", "sender"}, {"groups", json::array()}}) == check_level::unknown);
        CHECK(level_of(json::object()) == check_level::unknown);
    }

    TEST_CASE("times are read as UTC") {
        CHECK(seconds_of_rfc3339("1970-01-02T00:00:01.500Z") == doctest::Approx(86401.5));
        CHECK(seconds_of_rfc3339("1970-01-02T00:00:01.500") < 0);
        CHECK(seconds_of_rfc3339("1970-13-02T00:00:01Z") < 0);
        CHECK(seconds_of_rfc3339("") < 0);
    }
}

} // namespace farshore
