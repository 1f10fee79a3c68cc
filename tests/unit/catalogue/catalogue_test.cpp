#include "replicator/catalogue/catalogue.hpp"
#include "replicator/catalogue/catalogue_limits.hpp"
#include "replicator/catalogue/sqlite_database.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <array>

using namespace farshore;

namespace {

constexpr const char *path = "/state/catalogue.db";

catalogued_point point(std::uint64_t id) {
    return {interval_id{id}, wall_time(std::chrono::seconds(id)),
            wall_time(std::chrono::seconds(id + 1))};
}

struct rig {
    sim_file_system disk{7};
    std::unique_ptr<file_system> process;
    std::unique_ptr<catalogue> kept;

    rig() {
        REQUIRE(disk.make_directories("/state"));
        start();
    }
    void start() {
        kept.reset();
        process = disk.process();
        auto opened = catalogue::open(*process, path);
        REQUIRE(opened);
        kept = std::move(*opened);
    }
    std::vector<std::uint64_t> ids() const {
        std::vector<std::uint64_t> out;
        const auto all = kept->points();
        REQUIRE(all);
        for (const catalogued_point &p : *all) {
            out.push_back(p.id.value);
        }
        return out;
    }
};

} // namespace

TEST_SUITE("catalogue") {
    TEST_CASE("what was noted is there after an orderly end") {
        rig r;
        CHECK(r.kept->begun_anew());
        CHECK(r.kept->noted_through()->value == 0);
        catalogued_point named = point(2);
        named.kind = "app";
        named.name = "before the upgrade";
        named.note = "agreed with \"ops\"";
        named.keep = std::chrono::hours(24 * 7);
        named.hooks = R"([{"name":"db","ok":true}])";
        REQUIRE(r.kept->note_points(std::array{point(1), named, point(3)}, interval_id{4}));
        REQUIRE(r.kept->drop_points(std::array{interval_id{1}}, false));
        r.start();
        CHECK_FALSE(r.kept->begun_anew());
        CHECK(r.ids() == std::vector<std::uint64_t>{2, 3});
        CHECK(r.kept->noted_through()->value == 4);
        const auto all = r.kept->points();
        CHECK(all->front().kind == "app");
        CHECK(all->front().name == "before the upgrade");
        CHECK(all->front().note == "agreed with \"ops\"");
        CHECK(all->front().arrival == wall_time(std::chrono::seconds(3)));
        CHECK(all->front().keep == std::chrono::hours(24 * 7));
        CHECK(all->front().hooks == R"([{"name":"db","ok":true}])");
        CHECK(all->back().keep == duration{});
        CHECK(all->back().hooks.empty());
    }

    TEST_CASE("a point that is there stays as it is") {
        rig r;
        REQUIRE(r.kept->note_points(std::array{point(1)}, interval_id{1}));
        REQUIRE(r.kept->pin(interval_id{1}, true));
        REQUIRE(r.kept->note_points(std::array{point(1)}, interval_id{1}));
        CHECK(r.kept->points()->front().pinned);
        REQUIRE(r.kept->pin(interval_id{1}, false));
        CHECK_FALSE(r.kept->points()->front().pinned);
        const auto unknown = r.kept->pin(interval_id{9}, true);
        REQUIRE_FALSE(unknown);
        CHECK(is(unknown.error(), errc::not_found));
        REQUIRE(r.kept->pin(interval_id{1}, true)); // a change that was refused left nothing open
    }

    TEST_CASE("a power cut at any call leaves what was promised, and never half of a change") {
        std::uint64_t calls = 0;
        {
            rig r;
            const std::uint64_t before = r.disk.mutating_calls();
            REQUIRE(r.kept->note_points(std::array{point(1), point(2)}, interval_id{2}));
            REQUIRE(r.kept->pin(interval_id{1}, true));
            REQUIRE(r.kept->add_opening({.id = "shop-1", .point = interval_id{2}}));
            REQUIRE(r.kept->drop_points(std::array{interval_id{2}}, true));
            calls = r.disk.mutating_calls() - before;
        }
        REQUIRE(calls > 8);
        for (std::uint64_t stop = 0; stop <= calls; ++stop) {
            for (std::uint64_t seed = 0; seed < 6; ++seed) {
                CAPTURE(stop);
                CAPTURE(seed);
                rig r;
                r.disk.stop_after(stop);
                std::size_t done = 0;
                if (r.kept->note_points(std::array{point(1), point(2)}, interval_id{2})) {
                    done = 1;
                    if (r.kept->pin(interval_id{1}, true)) {
                        done = 2;
                        if (r.kept->add_opening({.id = "shop-1", .point = interval_id{2}})) {
                            done = 3;
                            done += r.kept->drop_points(std::array{interval_id{2}}, true) ? 1 : 0;
                        }
                    }
                }
                r.disk.power_cut(seed);
                r.start();
                CHECK_FALSE(r.kept->begun_anew());
                const auto all = r.kept->points();
                REQUIRE(all);
                const auto openings = r.kept->openings();
                REQUIRE(openings);
                const std::size_t count = all->size();
                const bool noted = r.kept->noted_through()->value == 2;
                CHECK(noted == (count > 0));
                if (done >= 2) {
                    REQUIRE(count > 0);
                    CHECK(all->front().pinned);
                }
                CHECK((done < 3 || openings->size() == 1));
                if (done == 4) {
                    CHECK(count == 1);
                }
                if (!openings->empty()) { // in order: what came before is there, too
                    CHECK(all->front().pinned);
                }
            }
        }
    }

    TEST_CASE("what is no catalogue is moved aside, and said") {
        rig r;
        REQUIRE(r.kept->note_points(std::array{point(1)}, interval_id{1}));
        REQUIRE(r.kept->pin(interval_id{1}, true));
        REQUIRE(r.kept->checkpoint());
        r.kept.reset();
        SUBCASE("a flipped byte in its header") { r.disk.corrupt(path, 3); }
        SUBCASE("a flipped byte in a page") { r.disk.corrupt(path, 4096 + 3, std::byte{0xff}); }
        SUBCASE("of a newer version") {
            r.disk.corrupt(path, 63, std::byte{0x40}); // user_version
        }
        SUBCASE("cut short") {
            auto f = r.disk.open(path, open_mode::read_write);
            REQUIRE(f);
            REQUIRE((*f)->truncate(5000));
        }
        r.start();
        CHECK(r.kept->begun_anew());
        CHECK(r.ids().empty());
        CHECK(*r.disk.exists(std::string(path) + ".damaged"));
        REQUIRE(r.kept->note_points(std::array{point(5)}, interval_id{5}));
        r.start();
        CHECK_FALSE(r.kept->begun_anew());
        CHECK(r.ids() == std::vector<std::uint64_t>{5});
    }

    TEST_CASE("whatever a byte of its header is changed to, a catalogue is opened") {
        rig r;
        REQUIRE(r.kept->note_points(std::array{point(1)}, interval_id{1}));
        REQUIRE(r.kept->checkpoint());
        r.kept.reset();
        const sim_file_system before(r.disk);
        for (std::uint64_t at = 0; at < 100; ++at) {
            for (const std::byte mask :
                 {std::byte{0x01}, std::byte{0x04}, std::byte{0x80}, std::byte{0xff}}) {
                CAPTURE(at);
                r.kept.reset();
                r.disk.revert(before);
                r.disk.corrupt(path, at, mask);
                r.start();
                const auto all = r.kept->points();
                REQUIRE(all);
                CHECK((r.kept->begun_anew() || all->size() == 1));
                REQUIRE(r.kept->note_points(std::array{point(2)}, interval_id{2}));
                REQUIRE(r.kept->pin(interval_id{2}, true));
            }
        }
    }

    TEST_CASE("ids of openings are never used twice") {
        rig r;
        CHECK(*r.kept->next_opening() == 1);
        CHECK(*r.kept->next_opening() == 2);
        r.disk.power_cut(0);
        r.start();
        CHECK(*r.kept->next_opening() == 3);
    }

    TEST_CASE("openings come back as they were") {
        rig r;
        const catalogued_opening o{
            "shop-1",    interval_id{7},     true,     false,
            20ULL << 30, "unix:/run/x.sock", "/mnt/x", wall_time(std::chrono::seconds(5))};
        REQUIRE(r.kept->add_opening(o));
        REQUIRE(r.kept->add_opening({.id = "shop-2", .point = interval_id{8}}));
        REQUIRE(r.kept->remove_opening("shop-2"));
        r.disk.power_cut(0);
        r.start();
        const auto all = r.kept->openings();
        REQUIRE(all->size() == 1);
        const catalogued_opening &b = all->front();
        CHECK(b.id == o.id);
        CHECK(b.point == o.point);
        CHECK(b.writable);
        CHECK_FALSE(b.suspect);
        CHECK(b.space_bytes == o.space_bytes);
        CHECK(b.nbd == o.nbd);
        CHECK(b.mount == o.mount);
        CHECK(b.since == o.since);
    }

    TEST_CASE("without space a change is refused, and what was there stays") {
        rig r;
        REQUIRE(r.kept->note_points(std::array{point(1)}, interval_id{1}));
        r.disk.set_capacity(r.disk.used_bytes());
        std::vector<catalogued_point> many;
        for (std::uint64_t id = 2; id < 3000; ++id) {
            many.push_back(point(id));
        }
        const auto refused = r.kept->note_points(many, interval_id{2999});
        REQUIRE_FALSE(refused);
        CHECK(is_errno(refused.error(), ENOSPC));
        CHECK(r.ids() == std::vector<std::uint64_t>{1});
        r.disk.set_capacity(1ULL << 40);
        REQUIRE(r.kept->note_points(many, interval_id{2999}));
        CHECK(r.ids().size() == 2999);
    }

    TEST_CASE("damage and how far a scrub came are there after a power cut") {
        rig r;
        const catalogued_damage d{
            4, "history",      volume_index{2}, 100,
            3, interval_id{5}, interval_id{9},  wall_time(std::chrono::seconds(77))};
        REQUIRE(r.kept->add_damages(std::array{d}));
        scrub_record s{wall_time(std::chrono::seconds(1)),
                       wall_time(std::chrono::seconds(2)),
                       true,
                       1,
                       1ULL << 60,
                       42};
        REQUIRE(r.kept->set_scrubbed(s));
        r.disk.power_cut(0);
        r.start();
        auto all = r.kept->damages();
        REQUIRE(all);
        REQUIRE(all->size() == 1);
        const catalogued_damage &b = all->front();
        CHECK(b.id == 4);
        CHECK(b.what == "history");
        CHECK(b.volume == volume_index{2});
        CHECK(b.block == 100);
        CHECK(b.count == 3);
        CHECK(b.from == interval_id{5});
        CHECK(b.to == interval_id{9});
        CHECK(b.found == d.found);
        const auto was = r.kept->scrubbed();
        REQUIRE(was);
        CHECK(was->began == s.began);
        CHECK(was->finished == s.finished);
        CHECK(was->under_way);
        CHECK(was->part == 1);
        CHECK(was->place == s.place);
        CHECK(was->bytes == 42);
        REQUIRE(r.kept->cut_after(interval_id{4}));
        CHECK(r.kept->damages()->empty());
        REQUIRE(r.kept->add_damages(std::array{d}));
        REQUIRE(r.kept->drop_damages(std::array{std::uint64_t{4}}));
        CHECK(r.kept->damages()->empty());
    }

    TEST_CASE("results of tests are there after a power cut, and go with their point") {
        rig r;
        REQUIRE(r.kept->note_points(std::array{point(1), point(2), point(3)}, interval_id{3}));
        const catalogued_test t{
            interval_id{1}, wall_time(std::chrono::seconds(50)), "nightly",
            true,           std::chrono::milliseconds(1500),     "a line\nand another"};
        REQUIRE(r.kept->add_test(t));
        catalogued_test failed;
        failed.point = interval_id{2};
        REQUIRE(r.kept->add_test(failed));
        failed.point = interval_id{3};
        REQUIRE(r.kept->add_test(failed));
        r.disk.power_cut(0);
        r.start();
        auto all = r.kept->tests();
        REQUIRE(all);
        REQUIRE(all->size() == 3);
        const catalogued_test &b = all->front();
        CHECK(b.point == t.point);
        CHECK(b.time == t.time);
        CHECK(b.name == t.name);
        CHECK(b.passed);
        CHECK(b.took == t.took);
        CHECK(b.message == t.message);
        CHECK_FALSE(all->back().passed);
        CHECK(r.kept->tested()->last == wall_time{});
        CHECK(r.kept->tested()->last_point == interval_id{3});
        CHECK_FALSE(r.kept->tested()->last_passed);

        REQUIRE(r.kept->drop_points(std::array{interval_id{1}}, true));
        REQUIRE(r.kept->tests()->size() == 2);
        CHECK(r.kept->tested()->passed == t.time); // its point is gone
        CHECK(r.kept->tested()->passed_point == t.point);
        CHECK(r.kept->tests()->front().point == interval_id{2});
        REQUIRE(r.kept->cut_after(interval_id{2}));
        CHECK(r.kept->tests()->size() == 1);
        failed.point = interval_id{1};
        const auto gone = r.kept->add_test(failed);
        REQUIRE_FALSE(gone);
        CHECK(is(gone.error(), errc::not_found));
        CHECK(r.kept->tests()->size() == 1);
    }

    TEST_CASE("when a schedule's work began is there after a power cut") {
        rig r;
        CHECK(*r.kept->begun("test nightly") == wall_time{});
        REQUIRE(r.kept->set_begun("test nightly", wall_time(std::chrono::seconds(9))));
        r.disk.power_cut(0);
        r.start();
        CHECK(*r.kept->begun("test nightly") == wall_time(std::chrono::seconds(9)));
        CHECK(*r.kept->begun("test weekly") == wall_time{});
    }

    TEST_CASE("of the tests of one point the oldest go, and none of another's") {
        rig r;
        REQUIRE(r.kept->note_points(std::array{point(1), point(2)}, interval_id{2}));
        catalogued_test t;
        t.point = interval_id{2};
        REQUIRE(r.kept->add_test(t));
        t.point = interval_id{1};
        for (std::size_t n = 0; n < limits::tests_per_point_max + 3; ++n) {
            t.name = std::to_string(n);
            REQUIRE(r.kept->add_test(t));
        }
        const auto all = r.kept->tests();
        REQUIRE(all->size() == limits::tests_per_point_max + 1);
        CHECK(all->front().point == interval_id{2});
        CHECK((*all)[1].name == "3");
        CHECK(all->back().name == std::to_string(limits::tests_per_point_max + 2));
    }

    TEST_CASE("a catalogue of version 1 or 2 gets what it lacks, and keeps what it has") {
        const char *older = "PRAGMA user_version = 2;";
        SUBCASE("1") { older = "DROP TABLE damages; PRAGMA user_version = 1;"; }
        SUBCASE("2") {}
        rig r;
        REQUIRE(r.kept->note_points(std::array{point(1)}, interval_id{1}));
        REQUIRE(r.kept->pin(interval_id{1}, true));
        REQUIRE(r.kept->checkpoint());
        r.kept.reset();
        {
            sqlite_files files(*r.process);
            auto database = sqlite_database::open(files, path);
            REQUIRE(database);
            const std::string downgrade = std::string(older) +
                                          "DROP TABLE tests;"
                                          "ALTER TABLE points DROP COLUMN keep_ns;"
                                          "ALTER TABLE points DROP COLUMN hooks;";
            REQUIRE((*database)->execute(downgrade.c_str()));
        }
        r.start();
        CHECK_FALSE(r.kept->begun_anew());
        CHECK(r.ids() == std::vector<std::uint64_t>{1});
        CHECK(r.kept->points()->front().pinned);
        CHECK(r.kept->points()->front().keep == duration{});
        CHECK(r.kept->points()->front().hooks.empty());
        CHECK(r.kept->damages()->empty());
        catalogued_damage d;
        d.id = 1;
        REQUIRE(r.kept->add_damages(std::array{d}));
        catalogued_test t;
        t.point = interval_id{1};
        REQUIRE(r.kept->add_test(t));
        r.start();
        CHECK(r.kept->damages()->size() == 1);
        CHECK(r.kept->tests()->size() == 1);
    }

    TEST_CASE("going back forgets what came after") {
        rig r;
        REQUIRE(r.kept->note_points(std::array{point(1), point(2), point(3)}, interval_id{9}));
        REQUIRE(r.kept->cut_after(interval_id{2}));
        CHECK(r.ids() == std::vector<std::uint64_t>{1, 2});
        CHECK(r.kept->noted_through()->value == 2);
    }
}
