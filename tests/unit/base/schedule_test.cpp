#include "replicator/base/schedule.hpp"

#include <doctest/doctest.h>

#include <array>
#include <optional>
#include <vector>

using namespace farshore;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

/// 1970-01-01, as if this were Berlin: an hour ahead, two from the 10th at 01:00 UTC to the 20th at
/// 01:00 UTC.
duration zone(wall_time t) {
    const wall_time summer(hours(24 * 9 + 1));
    const wall_time winter(hours(24 * 19 + 1));
    return t >= summer && t < winter ? hours(2) : hours(1);
}

/// Of the month, as clocks in UTC show it.
wall_time utc(int day, int hour, int minute = 0) {
    return wall_time(hours(24 * (day - 1) + hour) + minutes(minute));
}

schedule daily(int hour, int minute) {
    schedule s;
    s.at = hours(hour) + minutes(minute);
    return s;
}

} // namespace

TEST_SUITE("schedule") {
    TEST_CASE("every so often") {
        schedule s;
        s.every = hours(1);
        const wall_time now = utc(2, 12);
        struct row {
            const char *what;
            std::optional<wall_time> last;
            wall_time due;
        };
        const std::array rows{
            row{"never done: now", std::nullopt, now},
            row{"just done", now, now + hours(1)},
            row{"a while ago", now - minutes(20), now + minutes(40)},
            row{"due this moment", now - hours(1), now},
            row{"down for days: once, now", now - hours(100), now},
            row{"the clock was set back a year", now + hours(24 * 365), now + hours(1)},
        };
        for (const row &r : rows) {
            CAPTURE(r.what);
            CHECK(next_due(s, r.last, now, zone) == r.due);
        }
    }

    TEST_CASE(
        "a first look and a clock that was set back are remembered, so that it does come due") {
        for (const bool set_back : {false, true}) {
            CAPTURE(set_back);
            const schedule s = daily(2, 30);
            std::optional<wall_time> last;
            if (set_back) {
                last = utc(300, 0);
            }
            std::vector<wall_time> done;
            for (wall_time now = utc(2, 12); now < utc(5, 12); now += seconds(7)) {
                last = settle_last(s, last, now);
                if (next_due(s, last, now, zone) <= now) {
                    last = now;
                    done.push_back(now);
                }
            }
            REQUIRE(done.size() == 3);
            CHECK(done[0] >= utc(3, 1, 30));
            CHECK(done[0] < utc(3, 1, 30) + seconds(7));
            CHECK(done[2] < utc(5, 1, 30) + seconds(7));
        }
        schedule often;
        often.every = hours(1);
        CHECK(settle_last(often, std::nullopt, utc(2, 0)) == std::nullopt);
        CHECK(settle_last(often, utc(3, 0), utc(2, 0)) == utc(2, 0));
        CHECK(settle_last(often, utc(1, 0), utc(2, 0)) == utc(1, 0));
    }

    TEST_CASE("what was missed is done once, and then goes on from there") {
        schedule s;
        s.every = seconds(10);
        wall_time now = utc(2, 0);
        std::optional<wall_time> last = now - hours(5);
        int done = 0;
        for (int second = 0; second < 60; ++second, now += seconds(1)) {
            if (next_due(s, last, now, zone) <= now) {
                last = now;
                ++done;
            }
        }
        CHECK(done == 6);
    }

    TEST_CASE("at a time of day, which is local") {
        const schedule s = daily(2, 30); // 01:30 UTC in winter, 00:30 in summer
        struct row {
            const char *what;
            std::optional<wall_time> last;
            wall_time now;
            wall_time due;
        };
        const std::array rows{
            row{"never done: the next one", std::nullopt, utc(2, 12), utc(3, 1, 30)},
            row{"never done, the same day", std::nullopt, utc(2, 1), utc(2, 1, 30)},
            row{"done today", utc(2, 1, 30), utc(2, 12), utc(3, 1, 30)},
            row{"done a little late today", utc(2, 1, 45), utc(2, 12), utc(3, 1, 30)},
            row{"missed last night: now", utc(1, 1, 30), utc(2, 12), utc(2, 12)},
            row{"missed for a week: once, now", utc(1, 1, 30), utc(8, 12), utc(8, 12)},
            row{"caught up at noon: the next night", utc(2, 12), utc(2, 12, 1), utc(3, 1, 30)},
            row{"the clock was set back", utc(5, 1, 30), utc(2, 12), utc(3, 1, 30)},
            row{"the day without 02:30: an hour later", utc(9, 1, 30), utc(9, 12), utc(10, 1, 30)},
            row{"the day after: summer", utc(10, 1, 30), utc(10, 12), utc(11, 0, 30)},
            row{"the day with two: the first", utc(19, 0, 30), utc(19, 12), utc(20, 0, 30)},
            row{"and not the second", utc(20, 0, 30), utc(20, 1), utc(21, 1, 30)},
        };
        for (const row &r : rows) {
            CAPTURE(r.what);
            CHECK(next_due(s, r.last, r.now, zone) == r.due);
        }
    }

    TEST_CASE("times of day are read exactly") {
        CHECK(parse_time_of_day("00:00").value() == duration{});
        CHECK(parse_time_of_day("23:59").value() == hours(23) + minutes(59));
        for (const char *bad :
             {"", "2:30", "24:00", "12:60", "02:30:00", "0a:30", "-1:00", "02-30", "12:3x"}) {
            CAPTURE(bad);
            const auto refused = parse_time_of_day(bad);
            REQUIRE_FALSE(refused);
            CHECK(is(refused.error(), errc::invalid));
        }
    }

    TEST_CASE("the zone of this host is a whole number of minutes within a day") {
        const duration off = local_zone(utc(2, 12));
        CHECK(off % minutes(1) == duration{});
        CHECK(off < hours(24));
        CHECK(off > -hours(24));
    }
}
