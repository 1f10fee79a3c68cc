#include "replicator/receiver/exposure_watch.hpp"
#include "replicator/receiver/recovery_report.hpp"

#include <doctest/doctest.h>

namespace farshore {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr wall_time ten = wall_time(hours(24 * 100 + 10));

/// Both clocks go on together.
struct watched {
    exposure_watch watch;
    wall_time wall = ten;
    time_point now{};

    void pass(duration d) {
        wall += d;
        now += d;
    }
    void look(std::optional<duration> age, bool connected = true) {
        watch.look(wall, now, age, connected);
    }
};

recorded_rehearsal rehearsed(bool passed, duration took, wall_time at) {
    recorded_rehearsal r;
    r.point = interval_id{7};
    r.passed = passed;
    r.took = took;
    r.time = at;
    return r;
}

} // namespace

TEST_SUITE("exposure_watch") {
    TEST_CASE("the worst of an hour is the oldest that its newest point became") {
        watched w;
        w.look(seconds(1));
        for (int i = 0; i < 10; ++i) {
            w.pass(seconds(20));
            w.look(seconds(i == 4 ? 21 : 2), i != 9);
        }
        const auto hours_seen = w.watch.take();
        REQUIRE(hours_seen.size() == 1);
        CHECK(hours_seen[0].begin == ten);
        CHECK(hours_seen[0].worst == seconds(21));
        CHECK(hours_seen[0].worst_at == ten + seconds(100));
        CHECK(hours_seen[0].watched == seconds(200));
        CHECK(hours_seen[0].connected == seconds(180));
        CHECK(hours_seen[0].without == duration{});
        CHECK(w.watch.take().empty());
    }

    TEST_CASE("a look after the hour's end gives each hour its share") {
        watched w;
        w.pass(minutes(58));
        w.look(seconds(3));
        w.pass(minutes(5)); // three of them in the next hour
        w.look(minutes(5));
        const auto seen = w.watch.take();
        REQUIRE(seen.size() == 2);
        CHECK(seen[0].begin == ten);
        CHECK(seen[0].watched == minutes(2));
        CHECK(seen[0].worst == minutes(2)); // as old as it was at the hour's end
        CHECK(seen[0].worst_at == ten + hours(1));
        CHECK(seen[1].begin == ten + hours(1));
        CHECK(seen[1].watched == minutes(3));
        CHECK(seen[1].worst == minutes(5));
    }

    TEST_CASE("time in which nobody looked is not watched, and its exposure is found") {
        watched w;
        w.look(seconds(1));
        w.pass(hours(30) + minutes(40));
        w.look(hours(30));
        const auto seen = w.watch.take();
        REQUIRE(seen.size() == 2);
        CHECK(seen[0].watched == duration{});
        CHECK(seen[1].begin == ten + hours(30));
        CHECK(seen[1].worst == hours(30));
        CHECK(seen[1].watched == duration{});
    }

    TEST_CASE("without a point there is no age") {
        watched w;
        w.look(std::nullopt);
        w.pass(minutes(4));
        w.look(std::nullopt);
        const auto seen = w.watch.take();
        REQUIRE(seen.size() == 1);
        CHECK(seen[0].worst == duration{});
        CHECK(seen[0].without == minutes(4));
    }

    TEST_CASE("what could not be kept is not lost, nor is what came meanwhile") {
        watched w;
        w.look(seconds(8));
        auto hours_seen = w.watch.take();
        w.pass(minutes(1));
        w.look(seconds(2));
        w.watch.put_back(std::move(hours_seen));
        const auto seen = w.watch.take();
        REQUIRE(seen.size() == 1);
        CHECK(seen[0].worst == seconds(8));
        CHECK(seen[0].watched == minutes(1));
    }

    TEST_CASE("a clock that jumps about holds no more than so many hours") {
        watched w;
        for (int i = 0; i < 1000; ++i) {
            w.wall += hours(7);
            w.look(seconds(1));
        }
        CHECK(w.watch.take().size() == 100);
    }
}

TEST_SUITE("recovery_report") {
    TEST_CASE("RPO is the worst of all hours, and the median of their worst") {
        CHECK_FALSE(rpo_of({}).worst);
        CHECK_FALSE(rpo_of({}).typical);
        std::vector<exposure_hour> all;
        for (const int worst : {3, 900, 2, 0, 4}) {
            exposure_hour h;
            h.begin = ten + hours(all.size());
            h.worst = seconds(worst);
            h.worst_at = h.begin + minutes(1);
            h.watched = hours(1);
            all.push_back(h);
        }
        const rpo_figures f = rpo_of(all);
        CHECK(f.worst == seconds(900));
        CHECK(f.worst_at == ten + hours(1) + minutes(1));
        CHECK(f.typical == seconds(4)); // of 2, 3, 4, 900: the upper of the middle
        CHECK(f.watched == hours(5));
    }

    TEST_CASE("RTO is of rehearsals that passed") {
        CHECK_FALSE(rto_of({}).longest);
        const rto_figures f =
            rto_of({rehearsed(true, seconds(30), ten), rehearsed(false, hours(1), ten + hours(2)),
                    rehearsed(true, seconds(50), ten + hours(1))});
        CHECK(f.passed == 2);
        CHECK(f.failed == 1);
        CHECK(f.longest == seconds(50));
        CHECK(f.last_passed == ten + hours(1));
    }

    TEST_CASE("what could not be run neither passed nor failed") {
        recorded_rehearsal none = rehearsed(false, seconds(0), ten);
        none.point = interval_id{0};
        const rto_figures f = rto_of({none, rehearsed(true, seconds(5), ten)});
        CHECK(f.not_run == 1);
        CHECK(f.failed == 0);
        CHECK(f.passed == 1);
    }

    TEST_CASE("points are counted by what they are") {
        point_info app;
        app.kind = "app";
        app.name = "monday";
        app.pinned = true;
        point_info bad;
        bad.suspect = true;
        bad.damaged = true;
        const kept_figures f = kept_of({app, bad, point_info{}});
        CHECK(f.points == 3);
        CHECK(f.app == 1);
        CHECK(f.named == 1);
        CHECK(f.pinned == 1);
        CHECK(f.suspect == 1);
        CHECK(f.damaged == 1);
    }
}

} // namespace farshore
