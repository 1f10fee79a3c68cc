#include "replicator/catalogue/catalogue.hpp"
#include "replicator/catalogue/catalogue_limits.hpp"
#include "replicator/catalogue/sqlite_database.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <array>

using namespace farshore;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr const char *record_path = "/state/catalogue.db";
constexpr wall_time noon = wall_time(hours(12));

struct record_rig {
    sim_file_system disk{7};
    std::unique_ptr<file_system> process;
    std::unique_ptr<catalogue> kept;

    record_rig() {
        REQUIRE(disk.make_directories("/state"));
        start();
    }
    void start() {
        kept.reset();
        process = disk.process();
        auto opened = catalogue::open(*process, record_path);
        REQUIRE(opened);
        kept = std::move(*opened);
    }
    void note(std::uint64_t id, const char *kind, const char *name) {
        catalogued_point p{interval_id{id}, noon + seconds(id), noon + seconds(id + 1)};
        p.kind = kind;
        p.name = name;
        REQUIRE(kept->note_points(std::array{p}, interval_id{id}));
    }
    void rehearse(std::uint64_t point, bool passed, duration took) {
        REQUIRE(kept->add_test({interval_id{point}, noon + hours(point), "nightly", passed, took,
                                passed ? "all good" : "it does not start"}));
    }
};

exposure_hour hour_at(wall_time begin, duration worst) {
    return {begin, worst, begin + minutes(7), minutes(60), minutes(50), minutes(1)};
}

} // namespace

TEST_SUITE("catalogue_record") {
    TEST_CASE("a rehearsal is remembered when its point is gone") {
        record_rig r;
        r.note(1, "app", "monday");
        r.note(2, "interval", "");
        r.rehearse(1, true, seconds(90));
        r.rehearse(2, false, seconds(3));
        REQUIRE(r.kept->drop_points(std::array{interval_id{1}}, false));
        REQUIRE(r.kept->cut_after(interval_id{1}));
        CHECK(r.kept->tests()->empty());
        r.start();
        const auto all = r.kept->rehearsals(wall_time{});
        REQUIRE(all);
        REQUIRE(all->size() == 2);
        CHECK(all->front().point.value == 1);
        CHECK(all->front().point_time == noon + seconds(1));
        CHECK(all->front().point_kind == "app");
        CHECK(all->front().point_name == "monday");
        CHECK(all->front().passed);
        CHECK(all->front().took == seconds(90));
        CHECK(all->front().message == "all good");
        CHECK_FALSE(all->back().passed);
        CHECK(r.kept->rehearsals(noon + hours(2))->size() == 1);
        CHECK(r.kept->rehearsals(noon + hours(3))->empty());
    }

    TEST_CASE("a rehearsal that could not be run is in the record, and no test of a point") {
        record_rig r;
        r.note(1, "interval", "");
        r.rehearse(1, true, seconds(90));
        REQUIRE(r.kept->add_unrun({{}, noon + hours(4), "nightly", false, {}, "no such point"}));
        r.start();
        const auto all = r.kept->rehearsals(wall_time{});
        REQUIRE(all);
        REQUIRE(all->size() == 2);
        CHECK_FALSE(all->back().ran());
        CHECK(all->back().time == noon + hours(4));
        CHECK(all->back().name == "nightly");
        CHECK(all->back().message == "no such point");
        CHECK(r.kept->tests()->size() == 1);
        CHECK(r.kept->tested()->last_passed); // it says nothing of the copy
    }

    TEST_CASE("what is seen of an hour adds up, and the worst of it stays") {
        record_rig r;
        REQUIRE(r.kept->add_exposure(std::array{hour_at(noon, seconds(3))}));
        r.start();
        exposure_hour later = hour_at(noon, seconds(9));
        later.worst_at = noon + minutes(30);
        REQUIRE(r.kept->add_exposure(std::array{later, hour_at(noon + hours(1), seconds(1))}));
        REQUIRE(r.kept->add_exposure(std::array{hour_at(noon, seconds(5))}));
        const auto all = r.kept->exposure(wall_time{});
        REQUIRE(all);
        REQUIRE(all->size() == 2);
        CHECK(all->front().begin == noon);
        CHECK(all->front().worst == seconds(9));
        CHECK(all->front().worst_at == noon + minutes(30));
        CHECK(all->front().watched == minutes(180));
        CHECK(all->front().connected == minutes(150));
        CHECK(all->front().without == minutes(3));
        CHECK(all->back().worst == seconds(1));
        // An hour that ended after the time that is asked for belongs to it.
        CHECK(r.kept->exposure(noon + minutes(59))->size() == 2);
        CHECK(r.kept->exposure(noon + minutes(60))->size() == 1);
    }

    TEST_CASE("of too many hours and rehearsals the oldest go") {
        record_rig r;
        std::vector<exposure_hour> many;
        for (std::size_t i = 0; i < limits::exposure_hours_max + 3; ++i) {
            many.push_back(hour_at(noon + hours(i), seconds(1)));
        }
        REQUIRE(r.kept->add_exposure(many));
        const auto all = r.kept->exposure(wall_time{});
        REQUIRE(all);
        CHECK(all->size() == limits::exposure_hours_max);
        CHECK(all->front().begin == noon + hours(3));
        r.note(1, "interval", "");
        for (std::size_t i = 0; i < limits::rehearsals_recorded_max + 2; ++i) {
            REQUIRE(r.kept->add_test({interval_id{1}, noon + minutes(i), "", true, {}, ""}));
        }
        const auto tests = r.kept->rehearsals(wall_time{});
        REQUIRE(tests);
        CHECK(tests->size() == limits::rehearsals_recorded_max);
        CHECK(tests->front().time == noon + minutes(2));
    }

    TEST_CASE("a clock that once was years ahead takes no other hour with it") {
        record_rig r;
        REQUIRE(r.kept->add_exposure(std::array{hour_at(noon, seconds(3))}));
        REQUIRE(r.kept->add_exposure(std::array{hour_at(noon + hours(24 * 3650), seconds(4))}));
        CHECK(r.kept->exposure(wall_time{})->size() == 2);
    }

    TEST_CASE("rehearsals of before there was a record are in it") {
        record_rig r;
        r.note(4, "app", "friday");
        r.rehearse(4, true, seconds(20));
        r.kept.reset();
        {
            sqlite_files files(*r.process);
            auto database = sqlite_database::open(files, record_path);
            REQUIRE(database);
            REQUIRE((*database)->execute("DROP TABLE exposure; DROP TABLE rehearsals;"
                                         "PRAGMA user_version = 3"));
        }
        r.start();
        const auto all = r.kept->rehearsals(wall_time{});
        REQUIRE(all);
        REQUIRE(all->size() == 1);
        CHECK(all->front().point_name == "friday");
        CHECK(all->front().took == seconds(20));
        REQUIRE(r.kept->add_exposure(std::array{hour_at(noon, seconds(3))}));
        CHECK(r.kept->tests()->size() == 1);
    }
}
