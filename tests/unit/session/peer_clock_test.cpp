// Clocks of two sites: what is told, and how old a point is.

#include "replicator/base/rfc3339.hpp"
#include "replicator/session/peer_clock.hpp"

#include <doctest/doctest.h>

namespace farshore {

using namespace std::chrono_literals;

TEST_SUITE("session") {
    TEST_CASE("peer clock: a difference of minutes is told with its amount, at either site") {
        const wall_time here{std::chrono::seconds(1767225600)};
        peer_clock clock;
        CHECK_FALSE(clock.warning());
        CHECK_FALSE(clock.difference());
        REQUIRE(clock.heard(clock_ms_of(here - 119s), here));
        CHECK_FALSE(clock.warning());
        REQUIRE(clock.heard(clock_ms_of(here - 2h), here));
        CHECK(clock.warning()->find("2.0 h ahead of") != std::string::npos);
        REQUIRE(clock.heard(clock_ms_of(here + 10min), here));
        CHECK(clock.warning()->find("10 min behind") != std::string::npos);
        REQUIRE(clock.heard(clock_ms_of(here + 30 * 24h), here));
        CHECK(clock.warning()->find("30 d behind") != std::string::npos);
        CHECK_FALSE(clock.heard(UINT64_MAX, here));
        CHECK_FALSE(clock.heard(clock_ms_of(wall_time_max), here));
        CHECK(clock.warning()); // what no clock shows changes nothing
    }

    TEST_CASE("peer clock: a point is as old as the older of its own time and its arrival") {
        const wall_time now{std::chrono::seconds(1767225600)};
        const peer_clock unknown;
        CHECK(unknown.age_of(now - 10s, now - 1s, now) == 10s); // it waited in a spool
        CHECK(unknown.age_of(now + 365 * 24h, now - 1s, now) == 1s);
        CHECK(unknown.age_of(now - 10s, {}, now) == 10s);
        CHECK(unknown.age_of(now + 1h, {}, now) == 0s);
        CHECK(unknown.age_of(wall_time::min(), now, now) < 365 * 24h * 60);
        CHECK(unknown.age_of(wall_time::max(), now, now) == 0s);
    }

    TEST_CASE("peer clock: sites two hours apart, either way, give points their true age") {
        const wall_time now{std::chrono::seconds(1767225600)};
        for (const duration apart : {duration(2h), duration(-2h)}) {
            peer_clock clock;
            REQUIRE(clock.heard(clock_ms_of(now - apart), now));
            CHECK(clock.age_of(now - apart - 10s, now - 1s, now) == 10s);
            CHECK(clock.age_of(now - apart - 1s, now - 1s, now) == 1s);
        }
    }

    TEST_CASE("times: RFC 3339 and nothing else") {
        const auto ns = [](const char *text) -> std::int64_t {
            const auto t = parse_rfc3339(text);
            return t ? t->time_since_epoch().count() : -1;
        };
        CHECK(ns("1970-01-01T00:00:00Z") == 0);
        CHECK(ns("1970-01-01t00:00:01.5z") == 1'500'000'000);
        CHECK(ns("1970-01-01T01:00:00.000000001+01:00") == 1);
        CHECK(ns("1969-12-31T23:00:00-01:00") == -1); // the year is 1970 to 2199
        CHECK(ns("1970-01-01T00:00:00-00:30") == 1800'000'000'000);
        CHECK(ns("1972-06-30T23:59:60Z") == ns("1972-07-01T00:00:00Z"));
        CHECK(ns("1972-06-30T23:59:60.9Z") == ns("1972-07-01T00:00:00Z"));
        CHECK(ns("2024-02-29T00:00:00Z") > 0);
        CHECK(ns("2199-12-31T23:59:59.999999999Z") > 0);
        for (const char *bad : {"",
                                "1e1",
                                "2026-01-01T00:00:00+99:99",
                                "2026-01-01T00:00:00+24:00",
                                "2026-01-01T00:00:00+01:60",
                                "2026-01-01T00:00:00",
                                "2026-01-01 00:00:00Z",
                                "2026-1-1T00:00:00Z",
                                "2026-01-01T0:0:0Z",
                                "2026-01-01T00:00:1e1Z",
                                "2026-01-01T00:00:00.Z",
                                "2026-01-01T00:00:00.1234567890Z",
                                "2026-01-01T00:00:00Z ",
                                " 2026-01-01T00:00:00Z",
                                "2026-01-01T24:00:00Z",
                                "2026-01-01T00:60:00Z",
                                "2026-01-01T00:00:61Z",
                                "2026-01-01T12:00:60Z",
                                "2026-02-29T00:00:00Z",
                                "2026-00-01T00:00:00Z",
                                "2026-01-32T00:00:00Z",
                                "+026-01-01T00:00:00Z",
                                "2026-01-01T00:00:00+0100",
                                "2200-01-01T00:00:00Z",
                                "9999-12-31T23:59:59Z",
                                "0001-01-01T00:00:00Z",
                                "2026-01-01T00:00:0xZ"}) {
            CAPTURE(bad);
            CHECK(ns(bad) == -1);
        }
        const wall_time t{std::chrono::nanoseconds(1767225600'123'999'999)};
        CHECK(*parse_rfc3339(to_rfc3339(t)) == as_printed(t));
    }
}

} // namespace farshore
