#include "replicator/cli/report_charts.hpp"
#include "replicator/cli/report_page.hpp"
#include "replicator/cli/report_run.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

using nlohmann::json;

json group_of(json hours, json rehearsals) {
    return {{"name", "shop"},
            {"state", "following"},
            {"since", "2026-11-01T00:00:00.000Z"},
            {"until", "2026-11-02T00:00:00.000Z"},
            {"points", {{"count", 7U}, {"app", 2U}, {"named", 1U}, {"pinned", 0U}}},
            {"bookmarks", json::array()},
            {"rpo", {{"worst_seconds", 90.0}, {"hours", std::move(hours)}}},
            {"rto", {{"passed", 1U}, {"failed", 1U}, {"longest_seconds", 12.5}}},
            {"rehearsals", std::move(rehearsals)},
            {"error", nullptr}};
}

json report_of(json group) {
    return {{"time", "2026-11-02T00:00:00.000Z"},
            {"since", "2026-11-01T00:00:00.000Z"},
            {"groups", json::array({std::move(group)})}};
}

json hour_of(const char *time, json worst) {
    return {{"time", time}, {"worst_seconds", std::move(worst)}, {"without_point_seconds", 0.0}};
}

json rehearsal_of(bool passed, const char *message) {
    return {{"time", "2026-11-01T12:00:00.000Z"},
            {"test", "nightly"},
            {"point", "9"},
            {"point_time", "2026-11-01T11:59:00.000Z"},
            {"kind", "app"},
            {"result", passed ? "passed" : "failed"},
            {"passed", passed},
            {"seconds", 12.5},
            {"message", message}};
}

std::size_t count_of(const std::string &text, const std::string &what) {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) {
        ++n;
    }
    return n;
}

} // namespace

TEST_SUITE("report_page") {
    TEST_CASE("no text of others becomes markup") {
        CHECK(escaped("<a b=\"c\" d='e'>&\x01") == "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp; ");
        json g = group_of(json::array(),
                          json::array({rehearsal_of(false, "<script>alert(1)</script>")}));
        g["name"] = "<img src=x>";
        g["bookmarks"] =
            json::array({{{"name", "<b>"}, {"note", "</table><h1>"}, {"tests", json::array()}}});
        const std::string page = report_page(report_of(std::move(g)));
        CHECK(count_of(page, "<script") == 0);
        CHECK(count_of(page, "<img") == 0);
        CHECK(count_of(page, "<h1>") == 1);
        CHECK(count_of(page, "default-src 'none'") == 1);
    }

    TEST_CASE("each hour and each rehearsal is drawn") {
        const json g = group_of(json::array({hour_of("2026-11-01T01:00:00.000Z", 2.0),
                                             hour_of("2026-11-01T02:00:00.000Z", 90.0),
                                             hour_of("2026-11-01T05:00:00.000Z", nullptr)}),
                                json::array({rehearsal_of(true, "ok"), rehearsal_of(false, "no")}));
        CHECK(count_of(exposure_chart(g), "<rect") == 3);
        CHECK(count_of(exposure_chart(g), "class=bad") == 1);
        CHECK(count_of(rehearsal_chart(g), "<rect") == 2);
        CHECK(count_of(rehearsal_chart(g), "class=bad") == 1);
        const std::string page = report_page(report_of(g));
        CHECK(count_of(page, "<svg") == 2);
        CHECK(page.find("1 m 30 s") != std::string::npos);
    }

    TEST_CASE("a year of hours is drawn by the worst of neighbours") {
        json hours = json::array();
        for (int day = 1; day <= 28; ++day) {
            for (int hour = 0; hour < 24; ++hour) {
                char time[32];
                std::snprintf(time, sizeof time, "2026-11-%02dT%02d:00:00.000Z", day, hour);
                hours.push_back(hour_of(time, day == 9 && hour == 9 ? 777.0 : 1.0));
            }
        }
        const std::string chart = exposure_chart(group_of(std::move(hours), json::array()));
        CHECK(count_of(chart, "<rect") == 336);
        CHECK(chart.find("12 m 57 s") != std::string::npos);
    }

    TEST_CASE("what is not known is said, in the page and as text") {
        const json empty = report_of(group_of(json::array(), json::array()));
        const std::string page = report_page(empty);
        CHECK(page.find("nobody knows whether the copy starts") != std::string::npos);
        CHECK(count_of(page, "<svg") == 0);
        const json bare = {{"groups", json::array({{{"name", "shop"}, {"error", "no disk"}}})}};
        CHECK(report_page(bare).find("no disk") != std::string::npos);
        CHECK(render_report(bare).find("shop: no disk") != std::string::npos);
        CHECK(report_page(json::object()).find("</html>") != std::string::npos);
        CHECK(render_report(json{{"groups", json::array({json::object()})}}).find("not known") !=
              std::string::npos);
    }

    TEST_CASE("as text: figures first, then what was rehearsed") {
        const std::string text = render_report(
            report_of(group_of(json::array(), json::array({rehearsal_of(false, "no")}))));
        CHECK(text.find("7 points kept") != std::string::npos);
        CHECK(text.find("at worst 1 m 30 s") != std::string::npos);
        CHECK(text.find("1 passed, 1 failed") != std::string::npos);
        CHECK(text.find("FAILED") != std::string::npos);
    }

    TEST_CASE("a rehearsal that could not be run has no point, and is said") {
        json not_run = rehearsal_of(false, "there is no such point");
        not_run["result"] = "not_run";
        not_run["point"] = nullptr;
        not_run["point_time"] = nullptr;
        const json report = report_of(group_of(json::array(), json::array({not_run})));
        CHECK(render_report(report).find("NOT RUN") != std::string::npos);
        const std::string page = report_page(report);
        CHECK(page.find("<td>-<td>") != std::string::npos);
        CHECK(page.find("NOT RUN") != std::string::npos);
        CHECK(page.find("FAILED") == std::string::npos);
    }
}

} // namespace farshore
