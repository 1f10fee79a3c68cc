// The replica through phases with and without order, in a journal with room for little: catch-ups
// that overwrite, intervals in steps, restarts, cuts of power, points held open all along. Images
// and every point equal the model; the newest complete point is never lost; it never gets stuck.

#include "replicator/replica/replica_group.hpp"
#include "tests/support/replica_rig.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

using test::primary_model;

const std::vector<std::uint64_t> sizes = {100 * 1024, 20'001};

struct life {
    sim_file_system files;
    primary_model model;
    replica_options options;
    std::unique_ptr<replica_group> group;
    std::uint64_t newest_point = 0; ///< of what was made; 0: none
    std::vector<open_replica_point> held;

    explicit life(std::uint64_t seed) : files(seed), model(seed, sizes) {
        options.state_directory = "/state";
        options.segment_bytes = 16 * 1024;
        options.journal_bytes_max = model.below(3) == 0 ? 1ULL << 30 : 4'000'000;
        options.batch_bytes_max = model.below(2) == 0 ? 32 << 20 : 20'000; // 20 kB: in steps
        REQUIRE(replica_group::create(files, options, test::volumes_of(sizes)).has_value());
        open();
    }

    void open() {
        held.clear();
        group.reset();
        auto opened = replica_group::open(files, options);
        REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
        group = std::move(*opened);
        CHECK(group->position().damage_count == 0);
    }

    void apply() {
        const auto outcome = test::apply_all(*group);
        REQUIRE_MESSAGE(outcome.has_value(), (outcome ? "" : outcome.error().text()));
        CHECK(outcome->damaged.empty());
        CHECK(group->position().applied == model.position());
        CHECK(*test::read_images(*group) == model.now());
    }

    void add(bool consistent) {
        const auto frames = model.interval(model.below(12), primary_model::plain(consistent));
        auto appended = test::append_all(*group, frames);
        for (int tries = 0; !appended && tries < 3;
             ++tries) { // as the engine: apply goes on meanwhile
            CHECK(is(appended.error(), errc::full));
            REQUIRE(group->sync_journal().has_value());
            REQUIRE(test::apply_all(*group).has_value());
            appended = test::append_all(*group, frames);
        }
        REQUIRE_MESSAGE(appended.has_value(), (appended ? "" : appended.error().text()));
        newest_point = consistent ? model.position().interval.value : newest_point;
    }

    void check_points() {
        const auto points = group->points();
        if (newest_point != 0) {
            REQUIRE_FALSE(points.empty());
            CHECK(points.back().id.value == newest_point);
        }
        for (const replica_point &p : points) {
            CAPTURE(p.id.value);
            const auto opened = group->open_point(p.id);
            REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
            CHECK(*test::read_point(*opened) == model.at(p.id));
        }
        for (const open_replica_point &p : held) {
            CAPTURE(p.point.id.value);
            CHECK(*test::read_point(p) == model.at(p.point.id));
        }
    }

    void hold_one() {
        const auto points = group->points();
        held.clear();
        if (!points.empty()) { // a newer one: an old one would be held for ever, and its undo
            held.push_back(std::move(*group->open_point(points.back().id)));
        }
    }

    /// Some intervals, now and then everything that may come between.
    void phase(bool ordered) {
        if (!ordered) {
            model.begin_stream();
        }
        for (std::uint64_t n = 1 + model.below(ordered ? 6 : 25); n > 0; --n) {
            for (std::uint64_t some = 1 + model.below(3); some > 0; --some) {
                add(ordered);
            }
            REQUIRE(group->sync_journal().has_value());
            if (model.below(4) != 0) {
                apply();
            }
            if (model.below(5) == 0) {
                REQUIRE(group->commit().has_value());
            }
            if (model.below(12) == 0) {
                files.power_cut(model.below(6));
                open();
                apply();
            }
            if (model.below(6) == 0) {
                apply();
                hold_one();
            }
        }
        apply();
        check_points();
    }
};

TEST_SUITE_BEGIN("property");

TEST_CASE("replica: order comes and goes, and points and images equal the model throughout") {
    for (std::uint64_t seed = 1; seed <= 40; seed += test::one_in) {
        CAPTURE(seed);
        life l(seed);
        if (l.model.below(3) == 0) {
            l.phase(false); // the initial sync: no point yet
        }
        for (int round = 0; round < 5; ++round) {
            l.phase(true);
            l.phase(false);
        }
        if (l.model.below(2) == 0) {
            l.phase(true);
        }
    }
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
