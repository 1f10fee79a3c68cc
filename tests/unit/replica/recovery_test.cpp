// Pure decisions of the replica: recovery cases, retention, the index of a point.

#include "replicator/replica/point_index.hpp"
#include "replicator/replica/recovery_cases.hpp"
#include "replicator/replica/retention.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

namespace farshore {
namespace {

using namespace std::chrono_literals;

template <class F>
void each_evidence(F f) {
    for (const auto commit : {commit_evidence::none, commit_evidence::valid}) {
        for (const auto tail :
             {undo_tail::empty, undo_tail::complete, undo_tail::torn, undo_tail::broken}) {
            for (const bool history : {false, true}) {
                for (const auto journal : {journal_state::ends_before, journal_state::continues,
                                           journal_state::gap, journal_state::regressed}) {
                    for (const bool images : {false, true}) {
                        f(recovery_evidence{commit, tail, history, journal, images, false});
                        f(recovery_evidence{commit, tail, history, journal, false, images});
                    }
                }
            }
        }
    }
}

wall_time at(std::int64_t seconds) { return wall_time(std::chrono::seconds(seconds)); }

std::vector<kept_candidate> points_each(std::int64_t step, int count) {
    std::vector<kept_candidate> points;
    for (int i = 1; i <= count; ++i) {
        points.push_back({interval_id{static_cast<std::uint64_t>(i)}, at(i * step), false});
    }
    return points;
}

std::vector<kept_candidate> kept(const std::vector<kept_candidate> &points,
                                 const std::vector<bool> &keep) {
    std::vector<kept_candidate> left;
    for (std::size_t i = 0; i < points.size(); ++i) {
        if (keep[i]) {
            left.push_back(points[i]);
        }
    }
    return left;
}

TEST_SUITE_BEGIN("replica");

TEST_CASE("recovery cases: without a commit record everything is refused and nothing touched") {
    each_evidence([](const recovery_evidence &e) {
        const recovery_decision d = decide_recovery(e);
        CHECK(d.refuse == (e.commit == commit_evidence::none));
        if (d.refuse) {
            CHECK(d.label == recovery_case::no_commit);
            CHECK_FALSE((d.roll_back || d.drop_points || d.clear_journal || d.add_damage ||
                         d.suspect_points));
        }
    });
}

TEST_CASE("recovery cases: every combination is rolled back, dropped and counted by its evidence") {
    int clean = 0;
    each_evidence([&](const recovery_evidence &e) {
        if (e.commit == commit_evidence::none) {
            return;
        }
        const recovery_decision d = decide_recovery(e);
        CHECK(d.roll_back == (e.tail != undo_tail::empty));
        CHECK(d.drop_points == (e.tail == undo_tail::broken));
        CHECK(d.clear_journal == (e.journal == journal_state::gap));
        // Whatever may be missing of what was acknowledged must be compared.
        CHECK(d.add_damage == (e.tail == undo_tail::broken || e.journal == journal_state::gap ||
                               e.journal == journal_state::regressed || e.images_changed ||
                               e.images_doubtful));
        CHECK(d.suspect_points == e.images_changed);
        CHECK_FALSE(to_text(d.label).empty());
        clean += d.label == recovery_case::clean ? 1 : 0;
        CHECK((d.label == recovery_case::clean) ==
              !(d.roll_back || d.drop_points || e.history_broken || d.add_damage));
        CHECK((d.label == recovery_case::images_changed) == e.images_changed);
        CHECK((d.label == recovery_case::undo_lost) ==
              (e.tail == undo_tail::broken && !e.images_changed));
    });
    CHECK(clean == 4); // the journal goes on, or there is none; each twice
}

TEST_CASE("retention: without rules all points stay") {
    const auto points = points_each(1, 5);
    CHECK(points_to_keep(points, {}, at(1000)) == std::vector<bool>(5, true));
    CHECK(points_to_keep({}, {}, at(1000)).empty());
}

TEST_CASE("retention: a rule without spacing keeps all that are young, to the second") {
    const auto points = points_each(10, 5); // 10, 20, 30, 40, 50
    const spacing_rule rule{0s, 20s};
    CHECK(points_to_keep(points, {&rule, 1}, at(50)) ==
          std::vector<bool>{false, false, true, true, true});
    CHECK(points_to_keep(points, {&rule, 1}, at(51)) ==
          std::vector<bool>{false, false, false, true, true});
}

TEST_CASE("retention: spacing keeps the first of each bucket") {
    const auto points = points_each(10, 12); // 10 .. 120
    const spacing_rule rule{60s, 1000s};
    const auto keep = points_to_keep(points, {&rule, 1}, at(120));
    std::vector<bool> expected(12, false);
    expected[0] = expected[5] = expected[11] = true; // 10, 60, 120
    CHECK(keep == expected);
}

TEST_CASE("retention: a bookmark stays as long as was asked, else as the longest rule reaches") {
    auto points = points_each(10, 5); // 10, 20, 30, 40, 50
    points[0].bookmark = true;
    points[0].keep = 1000s;
    points[1].bookmark = true; // nobody said how long
    points[2].keep = 1000s;    // of no bookmark: nothing
    const std::vector<spacing_rule> rules = {{0s, 5s}, {60s, 100s}};
    CHECK(points_to_keep(points, rules, at(110)) ==
          std::vector<bool>{true, true, false, false, true});
    CHECK(points_to_keep(points, rules, at(121)) ==
          std::vector<bool>{true, false, false, false, true});
    CHECK(points_to_keep(points, rules, at(1011)) ==
          std::vector<bool>{false, false, false, false, true});
    const auto kept = rules_that_keep(points, rules, at(60));
    CHECK(kept[0].bookmark);
    CHECK(kept[0].until == at(1010));
    CHECK(kept[1].until == at(120));
    CHECK_FALSE(kept[2].bookmark);
    // Space knows no bookmark.
    const std::vector<std::uint64_t> bytes(5, 10);
    const auto fitted = fit_into_space(points, bytes, std::vector<bool>(5, true), {50, 35});
    CHECK(fitted.keep == std::vector<bool>{false, false, true, true, true});
}

TEST_CASE("retention: the newest and held points stay whatever their age") {
    auto points = points_each(10, 4);
    points[1].held = true;
    const spacing_rule rule{0s, 1s};
    CHECK(points_to_keep(points, {&rule, 1}, at(100'000)) ==
          std::vector<bool>{false, true, false, true});
}

TEST_CASE("retention: a point in the future is young; where times go back buckets begin anew") {
    auto points = points_each(10, 3);
    points[0].time = at(500);
    const spacing_rule all{0s, 15s};
    CHECK(points_to_keep(points, {&all, 1}, at(30)) == std::vector<bool>{true, true, true});
    const std::vector<kept_candidate> back = {{interval_id{1}, at(100)},
                                              {interval_id{2}, at(160)},
                                              {interval_id{3}, at(101)},
                                              {interval_id{4}, at(161)}};
    const spacing_rule minute{60s, 1000s};
    CHECK(points_to_keep(back, {&minute, 1}, at(200)) == std::vector<bool>{true, true, true, true});
}

TEST_CASE("retention: asking again drops no more, and asking often keeps what asking once would") {
    std::mt19937_64 random(5);
    for (int round = 0; round < 200; ++round) {
        std::vector<kept_candidate> points;
        std::int64_t t = 0;
        for (std::uint64_t i = 1; i <= 60; ++i) {
            t += static_cast<std::int64_t>(random() % 20);
            points.push_back({interval_id{i}, at(t), random() % 10 == 0});
        }
        const std::vector<spacing_rule> rules = {
            {0s, std::chrono::seconds(random() % 100)},
            {std::chrono::seconds(1 + random() % 50), std::chrono::seconds(100 + random() % 500)}};
        const wall_time now = at(t + static_cast<std::int64_t>(random() % 100));
        const auto once = kept(points, points_to_keep(points, rules, now));
        const auto again = points_to_keep(once, rules, now);
        CHECK(std::ranges::count(again, false) == 0);
        for (const kept_candidate &p : points) {
            if (p.held || now - p.time <= rules[0].age) {
                CHECK(std::ranges::find(once, p.id, &kept_candidate::id) != once.end());
            }
        }
        // Every bucket that had a point young enough for the second rule still has one.
        std::map<std::int64_t, bool> buckets;
        for (const kept_candidate &p : points) {
            const auto bucket = p.time.time_since_epoch() / rules[1].spacing;
            if (buckets.emplace(bucket, true).second && now - p.time <= rules[1].age) {
                CHECK(std::ranges::find(once, p.id, &kept_candidate::id) != once.end());
            }
        }
    }
}

TEST_CASE("point index: equals a map in which the first insertion of a block stays") {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        const std::uint64_t space = seed % 2 == 0 ? 200 : 60'000;
        point_index index;
        struct place {
            bool zero, rollback;
            std::uint64_t segment, entries, contents;
            bool operator==(const place &) const = default;
        };
        std::map<std::pair<std::uint16_t, std::uint64_t>, place> model;
        for (int i = 0; i < (space > 1000 ? 9000 : 300); ++i) {
            indexed_run run{volume_index{static_cast<std::uint16_t>(random() % 2)},
                            random() % space,
                            1 + random() % 20,
                            random() % 3 == 0,
                            random() % 3 == 0,
                            1 + random() % 3,
                            1000 + random() % 1000 * 24,
                            4096 + random() % 1000 * 4096};
            index.insert(run);
            for (std::uint64_t b = 0; b < run.count; ++b) {
                model.try_emplace({run.volume.value, run.block + b},
                                  run.zero ? place{true, false, 0, 0, 0}
                                           : place{false, run.rollback, run.segment,
                                                   run.entries + b * 24, run.contents + b * 4096});
            }
        }
        for (std::uint16_t v = 0; v < 2; ++v) {
            std::map<std::uint64_t, place> found;
            for (const indexed_run &run : index.find(volume_index{v}, 0, space + 100)) {
                for (std::uint64_t b = 0; b < run.count; ++b) {
                    const bool fresh =
                        found
                            .emplace(run.block + b,
                                     run.zero
                                         ? place{true, false, 0, 0, 0}
                                         : place{false, run.rollback, run.segment,
                                                 run.entries + b * 24, run.contents + b * 4096})
                            .second;
                    CHECK(fresh);
                }
            }
            std::map<std::uint64_t, place> expected;
            for (const auto &[key, p] : model) {
                if (key.first == v) {
                    expected.emplace(key.second, p);
                }
            }
            CHECK(found == expected);
            // A window is the same, trimmed.
            for (const indexed_run &run : index.find(volume_index{v}, 50, 7)) {
                CHECK(run.block >= 50);
                CHECK(run.block + run.count <= 57);
                CHECK(expected.contains(run.block));
                CHECK(run.zero == expected.at(run.block).zero);
                CHECK(run.contents == expected.at(run.block).contents);
            }
        }
    }
}

TEST_CASE("point index: blocks that follow each other take one run, a zeroed petabyte too") {
    point_index index;
    for (std::uint64_t b = 0; b < 1000; ++b) {
        index.insert({volume_index{1}, b, 1, false, false, 2, 500 + b * 24, 9000 + b * 4096});
    }
    CHECK(index.runs() == 1);
    index.insert({volume_index{0}, 0, 1ULL << 38, true, false, 0, 0, 0});
    CHECK(index.runs() < 100);
    const auto end = index.find(volume_index{0}, (1ULL << 38) - 1, 5);
    REQUIRE(end.size() == 1);
    CHECK(end[0].count == 1);
    CHECK(index.find(volume_index{2}, 0, 100).empty());
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
