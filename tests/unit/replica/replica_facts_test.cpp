// What is known of points beyond the history: pins, points that were let go, the catalogue lost.

#include "replicator/replica/retention.hpp"
#include "tests/unit/replica/replica_test_rig.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

namespace farshore {
namespace {

std::vector<std::uint64_t> ids(const replica_group &group) {
    std::vector<std::uint64_t> out;
    for (const replica_point &p : group.points()) {
        out.push_back(p.id.value);
    }
    return out;
}

void write_points(rig &r, int count) {
    for (int i = 0; i < count; ++i) {
        r.write(4);
    }
    REQUIRE(r.group->commit());
}

wall_time second(std::int64_t s) { return wall_time(std::chrono::seconds(1'000'000 + s)); }

TEST_SUITE_BEGIN("replica");

TEST_CASE("replica: a pinned point outlives rules, restarts and power cuts, until it is unpinned") {
    rig r;
    r.options.segment_bytes = 16 * 1024;
    r.options.retain = {{duration::zero(), std::chrono::seconds(10)}};
    r.open();
    write_points(r, 20);
    REQUIRE(r.group->pin(interval_id{3}, true));
    r.files.power_cut(0);
    r.open();
    write_points(r, 20);
    REQUIRE(r.group->retain(second(40)));
    CHECK(ids(*r.group).front() == 3);
    CHECK(r.group->points().front().pinned);
    CHECK(r.group->points().size() == 12);
    CHECK(*test::read_point(*r.group->open_point(interval_id{3})) == r.model.at(interval_id{3}));
    REQUIRE(r.group->pin(interval_id{3}, false));
    REQUIRE(r.group->retain(second(40)));
    CHECK(ids(*r.group).front() == 30);
    REQUIRE(r.group->commit());
    r.open();
    CHECK(ids(*r.group).front() == 30);
    CHECK(is(r.group->pin(interval_id{3}, true).error(), errc::not_found));
}

TEST_CASE("replica: a bookmark keeps its label through power cuts, wherever it stands by then") {
    barrier named = primary_model::plain();
    named.label.emplace();
    named.label->name = "before-upgrade";
    named.label->note = "ticket 4711";
    named.label->keep = std::chrono::hours(1);
    named.label->kind = label_kind::app;
    named.label->hooks.push_back({"db", "redis", true, std::chrono::milliseconds(3), "", {}});
    for (int commits = 0; commits <= 4; ++commits) {
        for (std::uint64_t cut = 0; cut < 6; ++cut) {
            CAPTURE(commits);
            CAPTURE(cut);
            rig r;
            r.options.segment_bytes = 8 * 1024;
            r.open();
            write_points(r, 3);
            r.write(4, named);
            for (int i = 0; i < commits; ++i) { // the journal is dropped behind the second one
                r.write(20);
                REQUIRE(r.group->commit());
            }
            r.files.power_cut(cut);
            r.open();
            REQUIRE(test::apply_all(*r.group));
            const auto points = r.group->points();
            const auto at = std::ranges::find(points, interval_id{4}, &replica_point::id);
            REQUIRE(at != points.end());
            CHECK(at->name == "before-upgrade");
            CHECK(at->note == "ticket 4711");
            CHECK(at->kind == "app");
            CHECK(at->hooks.find("redis") != std::string::npos);
            // It is what keeps it, an hour long.
            const auto kept = r.group->points_and_keepers(second(10));
            CHECK(kept[3].bookmark);
        }
    }
}

TEST_CASE("replica: a label that the catalogue can't take stays in the journal") {
    rig r;
    r.options.segment_bytes = 8 * 1024;
    r.open();
    barrier named = primary_model::plain();
    named.label.emplace();
    named.label->name = "held-back";
    write_points(r, 3);
    r.write(4, named);
    r.files.inject({.path_prefix = "/state/catalogue.db", .forever = true});
    for (int i = 0; i < 4; ++i) {
        r.write(20);
        REQUIRE(r.group->commit());
    }
    r.files.clear_faults();
    r.files.power_cut(0);
    r.open();
    REQUIRE(test::apply_all(*r.group));
    const auto points = r.group->points();
    CHECK(std::ranges::find(points, "held-back", &replica_point::name) != points.end());
}

TEST_CASE(
    "replica: what a test found is there after a power cut, and the last one when its point is "
    "gone") {
    rig r;
    r.options.retain = {{duration::zero(), std::chrono::seconds(10)}};
    r.open();
    write_points(r, 20);
    CHECK(r.group->tested().last == wall_time{});
    catalogued_test t;
    t.point = interval_id{5};
    t.time = second(99);
    t.passed = true;
    t.message = "fine";
    REQUIRE(r.group->note_test(t));
    CHECK(r.group->tested().passed_point == interval_id{5});
    r.files.power_cut(0);
    r.open();
    REQUIRE(r.group->facts().tests()->size() == 1);
    CHECK(r.group->facts().tests()->front().message == "fine");
    write_points(r, 20);
    REQUIRE(r.group->retain(second(40)));
    REQUIRE(r.group->commit());
    r.open();
    CHECK(r.group->facts().tests()->empty());
    CHECK(r.group->tested().passed == second(99));
    CHECK(is(r.group->note_test(t).error(), errc::not_found));
    r.write(4); // not committed
    t.point = interval_id{41};
    CHECK(is(r.group->note_test(t).error(), errc::busy));
}

TEST_CASE("replica: a point is opened or forgotten, never both") {
    constexpr std::uint64_t rounds = 200;
    rig r;
    write_points(r, static_cast<int>(rounds) + 1);
    REQUIRE(r.group->commit());
    std::size_t both = 0;
    std::size_t neither = 0;
    for (std::uint64_t id = 1; id <= rounds; ++id) {
        std::atomic<bool> began = false;
        result<> gone;
        std::jthread other([&] {
            began = true;
            gone = r.group->forget(interval_id{id});
        });
        while (!began) {
        }
        const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(id * 2);
        while (std::chrono::steady_clock::now() < until) {
        }
        const auto point = r.group->open_point(interval_id{id});
        other.join();
        both += point.has_value() && gone.has_value() ? 1 : 0;
        neither += !point.has_value() && !gone.has_value() ? 1 : 0;
    }
    CHECK(both == 0);
    CHECK(neither == 0);
}

TEST_CASE("replica: a point that was let go stays away after a restart, though its undo is there") {
    rig r;
    r.options.retain = {{std::chrono::seconds(10), std::chrono::seconds(1000)}};
    r.open();
    write_points(r, 40);
    REQUIRE(r.group->retain(second(40)));
    const auto kept = ids(*r.group);
    CHECK(kept.size() < 8);
    SUBCASE("after a stop in order") { REQUIRE(r.group->close()); }
    SUBCASE("killed") {}
    r.open();
    CHECK(ids(*r.group) == kept);
    for (const std::uint64_t id : kept) {
        CHECK(*test::read_point(*r.group->open_point(interval_id{id})) ==
              r.model.at(interval_id{id}));
    }
}

TEST_CASE("replica: forget refuses what is pinned, open or the newest, and is for good") {
    rig r;
    write_points(r, 10);
    REQUIRE(r.group->pin(interval_id{2}, true));
    CHECK(is(r.group->forget(interval_id{2}).error(), errc::refused));
    CHECK(is(r.group->forget(interval_id{10}).error(), errc::refused));
    CHECK(is(r.group->forget(interval_id{99}).error(), errc::not_found));
    {
        const auto open = r.group->open_point(interval_id{4});
        CHECK(is(r.group->forget(interval_id{4}).error(), errc::busy));
    }
    REQUIRE(r.group->facts().add_opening({.id = "shop-1", .point = interval_id{5}}));
    CHECK(is(r.group->forget(interval_id{5}).error(), errc::busy));
    REQUIRE(r.group->forget(interval_id{4}));
    r.files.power_cut(0);
    r.open();
    CHECK(ids(*r.group) == std::vector<std::uint64_t>{1, 2, 3, 5, 6, 7, 8, 9, 10});
    CHECK(r.group->points()[1].pinned);
}

TEST_CASE("replica: what is not committed can't be pinned, for the catalogue would forget it") {
    rig r;
    write_points(r, 3);
    r.write(4);
    CHECK_FALSE(r.group->committed(interval_id{4}));
    CHECK(is(r.group->pin(interval_id{4}, true).error(), errc::busy));
    CHECK_FALSE(r.group->points().back().pinned);
    REQUIRE(r.group->commit());
    CHECK(r.group->committed(interval_id{4}));
    REQUIRE(r.group->pin(interval_id{4}, true));
}

TEST_CASE("replica: after a crash the catalogue has no points that the copy went back from") {
    rig r;
    write_points(r, 5);
    const sim_file_system before(r.files);
    write_points(r, 5);
    REQUIRE(r.group->pin(interval_id{9}, true));
    r.group.reset();
    r.files.put_back(before, "/state/group.state"); // an older commit record
    r.files.put_back(before, "/images");
    r.open();
    REQUIRE(test::apply_all(*r.group));
    CHECK(*r.group->facts().noted_through() <= r.group->position().applied.interval);
    for (const replica_point &p : r.group->points()) {
        CHECK_FALSE(p.pinned);
    }
    const auto applied = ids(*r.group);
    CHECK(applied.size() == 10);
    REQUIRE(r.group->commit());
    r.open();
    CHECK(ids(*r.group) == applied); // and not what the catalogue let go in another life
}

TEST_CASE("replica: the point of an opening that outlives a restart is kept from the start") {
    rig r;
    r.options.retain = {{duration::zero(), std::chrono::seconds(5)}};
    r.open();
    write_points(r, 20);
    REQUIRE(r.group->facts().add_opening({.id = "shop-1", .point = interval_id{4}}));
    REQUIRE(r.group->close());
    r.open();
    REQUIRE(r.group->retain(second(100)));
    CHECK(ids(*r.group) == std::vector<std::uint64_t>{4, 20});
    CHECK(r.group->points_and_keepers(second(100)).front().open);
    REQUIRE(r.group->facts().remove_opening("shop-1"));
    REQUIRE(r.group->retain(second(100)));
    CHECK(ids(*r.group) == std::vector<std::uint64_t>{20});
}

TEST_CASE("replica: a lost catalogue keeps all points of the history for a day") {
    rig r;
    r.options.segment_bytes = 16 * 1024;
    r.options.retain = {{duration::zero(), std::chrono::seconds(5)}};
    r.open();
    write_points(r, 20);
    REQUIRE(r.group->pin(interval_id{2}, true));
    REQUIRE(r.group->close());
    r.group.reset();
    SUBCASE("deleted") { REQUIRE(r.files.remove("/state/catalogue.db")); }
    SUBCASE("spoilt") { r.files.corrupt("/state/catalogue.db", 2); }
    r.open();
    CHECK(r.group->points().size() == 20);
    CHECK_FALSE(r.group->points()[1].pinned);
    const wall_time found{duration(r.files.now())};
    REQUIRE(r.group->retain(found + std::chrono::hours(23)));
    CHECK(r.group->points().size() == 20);
    const auto why = r.group->points_and_keepers(found + std::chrono::hours(23));
    CHECK(why.front().rebuilt);
    CHECK(why.front().until > found + std::chrono::hours(23));
    write_points(r, 5);
    REQUIRE(r.group->close());
    r.open(); // it is still known
    REQUIRE(r.group->retain(found + std::chrono::hours(23)));
    CHECK(r.group->points().size() == 21); // those 20, and the newest
    REQUIRE(r.group->retain(found + std::chrono::hours(25)));
    CHECK(r.group->points().size() == 1);
}

TEST_CASE("replica: an older catalogue loses what it did not know, and no point") {
    rig r;
    write_points(r, 10);
    const sim_file_system before(r.files);
    write_points(r, 10);
    REQUIRE(r.group->pin(interval_id{15}, true));
    REQUIRE(r.group->forget(interval_id{5}));
    REQUIRE(r.group->close());
    r.group.reset();
    r.files.put_back(before, "/state/catalogue.db");
    r.open();
    CHECK(r.group->points().size() == 20);
    for (const replica_point &p : r.group->points()) {
        CHECK(*test::read_point(*r.group->open_point(p.id)) == r.model.at(p.id));
    }
}

TEST_CASE("replica: what keeps a point is said, and what a plan says is what retention does") {
    rig r;
    r.options.segment_bytes = 16 * 1024;
    r.open();
    write_points(r, 60);
    REQUIRE(r.group->pin(interval_id{7}, true));
    const retention_wish wish{
        .retain = std::vector<retention_rule>{{duration::zero(), std::chrono::seconds(10)},
                                              {std::chrono::seconds(20), std::chrono::seconds(30)}},
        .journal_bytes_max = {}};
    const retention_plan plan = r.group->plan(wish, second(60));
    CHECK(r.group->points().size() == 60);
    const std::uint64_t used = r.group->used_bytes();
    CHECK(plan.used_bytes < used);
    CHECK(plan.fits);
    r.options.retain = *wish.retain;
    r.open();
    REQUIRE(r.group->retain(second(60)));
    REQUIRE(r.group->commit());
    REQUIRE(r.group->commit());
    CHECK(r.group->points().size() == plan.points);
    CHECK(r.group->points().front().id == plan.oldest->id);
    const auto why = r.group->points_and_keepers(second(60));
    CHECK(why.front().point.pinned);
    CHECK_FALSE(why.front().until.has_value());
    CHECK(why.back().newest);
    CHECK(std::ranges::any_of(why, [](const point_keeping &k) { return k.rules == 2; }));
    for (const point_keeping &k : why) {
        if (k.rules == 1 && !k.newest) {
            CHECK(k.until == k.point.time + std::chrono::seconds(10));
        }
        CHECK((k.rules != 0 || k.point.pinned || k.newest));
    }
    // Less space: the oldest go, up to the pinned one, which holds all behind it.
    const retention_plan small =
        r.group->plan({.retain = {}, .journal_bytes_max = 20'000}, second(60));
    CHECK(small.points == plan.points);
    CHECK_FALSE(small.fits);
    REQUIRE(r.group->pin(interval_id{7}, false));
    CHECK(r.group->plan({.retain = {}, .journal_bytes_max = 20'000}, second(60)).points <
          plan.points);
}

TEST_CASE("replica: without space the words say which pin holds it") {
    rig r;
    r.options.journal_bytes_max = 400'000;
    r.options.segment_bytes = 16 * 1024;
    r.open();
    write_points(r, 1);
    REQUIRE(r.group->pin(interval_id{1}, true));
    result<> stopped;
    for (int i = 0; i < 100 && stopped; ++i) {
        stopped = test::append_all(*r.group, r.model.interval(10, primary_model::plain()));
        if (stopped) {
            REQUIRE(r.group->sync_journal());
            const auto applied = r.group->apply();
            stopped = applied ? r.group->commit() : std::unexpected(applied.error());
        }
    }
    REQUIRE_FALSE(stopped);
    CHECK(is(stopped.error(), errc::full));
    CHECK(stopped.error().context.find("point 1 ") != std::string::npos);
    CHECK(stopped.error().context.find("farshore unpin") != std::string::npos);
    CHECK(*test::read_point(*r.group->open_point(interval_id{1})) == r.model.at(interval_id{1}));
    REQUIRE(r.group->pin(interval_id{1}, false));
    CHECK(test::apply_all(*r.group));
}

TEST_CASE("space: the oldest go first, what is held stops it, the newest stays") {
    const auto point = [](std::uint64_t id, bool held) {
        return kept_candidate{interval_id{id}, {}, held, {}};
    };
    std::vector<kept_candidate> points{point(1, false), point(2, false), point(3, false)};
    const std::vector<std::uint64_t> bytes{10, 20, 30};
    const std::vector<bool> all(3, true);
    CHECK(fit_into_space(points, bytes, all, {60, 60}).keep == all);
    const space_outcome one = fit_into_space(points, bytes, all, {60, 55});
    CHECK(one.keep == std::vector<bool>{false, true, true});
    CHECK(one.used_bytes == 50);
    CHECK(fit_into_space(points, bytes, all, {60, 0}).keep ==
          std::vector<bool>{false, false, true});
    points[0].held = true;
    CHECK(fit_into_space(points, bytes, all, {60, 0}).keep == all);
    // What age let go at the front gives its space back, in the middle it does not.
    points[0].held = false;
    CHECK(fit_into_space(points, bytes, {false, true, true}, {60, 60}).used_bytes == 50);
    CHECK(fit_into_space(points, bytes, {true, false, true}, {60, 60}).used_bytes == 60);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
