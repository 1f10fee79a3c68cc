// The replica against a model: random intervals through the real encoder, random commits and
// reopenings; the images equal the model after every apply, and each kept point the model at its
// barrier.

#include "replicator/replica/replica_group.hpp"
#include "replicator/storage/posix_file_system.hpp"
#include "tests/support/replica_rig.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/sim_file_system.hpp"
#include "tests/support/temp_directory.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

namespace farshore {
namespace {

using test::primary_model;

const std::vector<std::uint64_t> sizes = {300 * 1024, 70'001, 4096};

replica_options options_of(primary_model &model) {
    replica_options o;
    o.state_directory = "/state";
    o.journal_bytes_max = 1ULL << 30;
    o.batch_bytes_max = model.below(2) == 0 ? 32 << 20 : 40'000; // 40 kB: intervals in steps
    return o;
}

std::unique_ptr<replica_group> open(file_system &files, const replica_options &options) {
    auto group = replica_group::open(files, options);
    REQUIRE_MESSAGE(group.has_value(), (group ? "" : group.error().text()));
    return std::move(*group);
}

void check_points(replica_group &group, const primary_model &model) {
    for (const replica_point &p : group.points()) {
        CAPTURE(p.id.value);
        const auto opened = group.open_point(p.id);
        REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
        const auto images = test::read_point(*opened);
        REQUIRE(images.has_value());
        CHECK(*images == model.at(p.id));
    }
}

void run(std::uint64_t seed) {
    CAPTURE(seed);
    sim_file_system files(seed);
    primary_model model(seed, sizes);
    const replica_options options = options_of(model);
    REQUIRE(replica_group::create(files, options, test::volumes_of(sizes)).has_value());
    auto group = open(files, options);
    std::size_t points = 0;
    for (int round = 0; round < 40; ++round) {
        for (std::uint64_t n = model.below(4); n > 0; --n) {
            const bool consistent = model.below(8) != 0;
            const auto frames = model.interval(model.below(12), primary_model::plain(consistent));
            REQUIRE(test::append_all(*group, frames).has_value());
            points += consistent ? 1 : 0;
        }
        REQUIRE(group->sync_journal().has_value());
        CHECK(group->position().durable == model.position());
        if (model.below(3) == 0) {
            continue;
        }
        const auto outcome = test::apply_all(*group);
        REQUIRE_MESSAGE(outcome.has_value(), (outcome ? "" : outcome.error().text()));
        CHECK(outcome->damaged.empty());
        CHECK(group->position().applied == model.position());
        CHECK(*test::read_images(*group) == model.now());
        CHECK(group->points().size() == points);
        if (model.below(4) == 0) {
            check_points(*group, model);
        }
        if (model.below(3) == 0) {
            REQUIRE(group->commit().has_value());
        }
        if (model.below(6) == 0) {
            group.reset();
            group = open(files, options);
            REQUIRE(test::apply_all(*group).has_value());
            CHECK(*test::read_images(*group) == model.now());
            CHECK(group->points().size() == points);
        }
    }
    check_points(*group, model);
}

TEST_SUITE_BEGIN("property");

TEST_CASE("replica: equals the model after every apply, and so do all points") {
    for (std::uint64_t seed = 1; seed <= 25; seed += test::one_in) {
        run(seed);
    }
}

TEST_CASE("replica: points read right on another thread while apply goes on") {
    temp_directory directory;
    posix_file_system files;
    primary_model model(99, sizes);
    replica_options options;
    options.state_directory = directory / "state";
    options.batch_bytes_max = 60'000;
    REQUIRE(replica_group::create(files, options, test::volumes_of(sizes, directory / "images"))
                .has_value());
    auto group = open(files, options);
    REQUIRE(test::append_all(*group, model.interval(30, primary_model::plain())).has_value());
    REQUIRE(group->sync_journal().has_value());
    REQUIRE(test::apply_all(*group).has_value());

    // The model's states are made before the threads start: readers compare with them.
    std::vector<std::vector<buffer>> intervals;
    for (int i = 0; i < 60; ++i) {
        intervals.push_back(model.interval(8, primary_model::plain(i % 5 != 4)));
    }
    std::atomic<bool> done = false;
    std::atomic<std::uint64_t> wrong = 0;
    std::atomic<std::uint64_t> read = 0;
    const auto reader = [&] {
        while (!done || read == 0) {
            const auto points = group->points();
            const replica_point p = points[read % points.size()];
            const auto opened = group->open_point(p.id);
            for (int again = 0; opened && again < 3; ++again) {
                const auto images = test::read_point(*opened);
                wrong += !images || *images != model.at(p.id) ? 1 : 0;
                ++read;
            }
        }
    };
    std::thread one(reader);
    std::thread two(reader);
    bool fine = true;
    for (const auto &frames : intervals) {
        fine = fine && test::append_all(*group, frames) && group->sync_journal() &&
               test::apply_all(*group) && group->commit() && group->retain(wall_time{});
    }
    done = true;
    one.join();
    two.join();
    CHECK(fine);
    CHECK(wrong == 0);
    CHECK(read > 0);
    CHECK(*test::read_images(*group) == model.now());
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
