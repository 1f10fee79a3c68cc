// Images and state are of one moment, or it is said: what a replica group does when somebody else
// touched its images or put them or the state back while it was stopped.

#include "tests/unit/replica/touched_images.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("replica");

TEST_CASE(
    "replica: stopped in order and opened again, nothing is counted and all points are served") {
    rig r;
    r.write(10);
    r.write(10);
    stop(r);
    r.files.pass_stamp_time(hour);
    r.files.remount();
    r.open();
    CHECK(r.group->position().damage_count == 0);
    CHECK(r.group->points().size() == 2);
    CHECK(r.group->open_point(interval_id{1}));
}

TEST_CASE(
    "replica: killed in the middle of apply its own writes are known as such, at any later time") {
    rig r;
    r.write(10);
    REQUIRE(r.group->commit());
    r.write(10);
    r.group.reset(); // not committed
    r.files.pass_stamp_time(hour);
    for (const bool power : {false, true}) {
        sim_file_system copy(r.files);
        if (power) {
            copy.power_cut(9);
        }
        const auto group = replica_group::open(copy, r.options);
        REQUIRE(group);
        CHECK((*group)->position().damage_count == 0);
        CHECK((*group)->open_point(interval_id{1}));
    }
}

TEST_CASE("replica: killed in a roll-back long after apply, it is still its own") {
    rig r;
    r.write(10);
    REQUIRE(r.group->commit());
    for (int i = 0; i < 5; ++i) {
        r.write(10);
    }
    r.group.reset();
    r.files.pass_stamp_time(hour);
    for (std::uint64_t stop = 1;; ++stop) {
        CAPTURE(stop);
        sim_file_system copy(r.files);
        copy.stop_after(stop);
        const bool whole = replica_group::open(copy, r.options).has_value();
        copy.kill();
        copy.pass_stamp_time(hour);
        const auto group = replica_group::open(copy, r.options);
        REQUIRE(group);
        CHECK((*group)->position().damage_count == 0);
        if (whole) {
            break;
        }
    }
}

TEST_CASE("replica: an image that somebody wrote to while the receiver was stopped makes its "
          "points suspect") {
    rig r;
    r.write(10);
    r.write(10);
    stop(r);
    write_byte(r.files, "/images/vol0.img");
    r.open();
    CHECK(r.group->position().trouble.find("/images/vol0.img") != std::string::npos);
    check_suspect(r, 2);
}

TEST_CASE("replica: the same after a kill in the middle of apply, an hour later") {
    rig r;
    r.write(10);
    REQUIRE(r.group->commit());
    r.write(10);
    r.group.reset();
    r.files.pass_stamp_time(hour);
    write_byte(r.files, "/images/vol1.img");
    r.open();
    CHECK(r.group->position().damage_count == 1);
    CHECK(r.group->points().front().suspect);
    CHECK(*test::read_images(*r.group) != r.model.now());
}

TEST_CASE(
    "replica: found changed and killed at any step of that, it is found again or remembered") {
    rig r;
    r.write(10);
    REQUIRE(r.group->commit());
    r.write(10);
    r.group.reset();
    r.files.pass_stamp_time(hour);
    write_byte(r.files, "/images/vol0.img");
    for (std::uint64_t stop = 0;; ++stop) {
        CAPTURE(stop);
        sim_file_system copy(r.files);
        copy.stop_after(stop);
        const bool whole = stop > 0 && replica_group::open(copy, r.options).has_value();
        copy.power_cut(stop + 2);
        const auto group = replica_group::open(copy, r.options);
        REQUIRE(group);
        CHECK((*group)->position().damage_count >=
              1); // twice if the cut took the strange times back
        CHECK((*group)->points().front().suspect);
        if (whole) {
            break;
        }
    }
}

TEST_CASE("replica: images put back beside a current state") {
    rig r;
    r.write(10);
    stop(r);
    sim_file_system before(r.files);
    r.open();
    r.write(10);
    r.write(10);
    stop(r);
    put_back(r.files, before, "/images");
    r.open();
    check_suspect(r, 3);
}

// As a snapshot of the storage below has them: the times went to the journal of the file system,
// the content did not yet.
TEST_CASE("replica: images put back with the very times of the last write, over older content") {
    int found = 0;
    for (std::uint64_t seed = 2; seed < 40; ++seed) {
        rig r;
        r.write(10);
        REQUIRE(r.group->commit());
        r.write(10);
        sim_file_system before(r.files);
        before.power_cut(seed);
        stop(r);
        const auto stopped = images_of(r.files);
        r.files.put_back(before, "/images/vol0.img");
        if (images_of(r.files) == stopped) {
            continue;
        }
        ++found;
        r.open();
        CHECK(r.group->position().damage_count == 1);
    }
    CHECK(found > 10);
}

TEST_CASE(
    "replica: killed at any step of a stop in order, nothing passes for somebody else's write") {
    for (std::uint64_t calls = 0;; ++calls) {
        rig r;
        r.write(10);
        r.files.stop_after(calls);
        const bool done = r.group->close().has_value();
        r.group.reset();
        calls % 2 == 0 ? r.files.kill() : r.files.power_cut(calls);
        r.open();
        CHECK(r.group->position().damage_count == 0);
        if (done) {
            CHECK(calls > 4);
            break;
        }
    }
}

TEST_CASE("replica: the state put back beside current images") {
    rig r;
    r.write(10);
    r.write(10);
    stop(r);
    sim_file_system before(r.files);
    const auto old_model = r.model.position();
    r.open();
    r.write(10);
    stop(r);
    put_back(r.files, before, "/state");
    r.open();
    CHECK(r.group->position().applied == old_model);
    CHECK(r.group->position().damage_count == 1);
    REQUIRE(r.group->points().size() == 2);
    for (const replica_point &p : r.group->points()) {
        CHECK(is(r.group->open_point(p.id).error(), errc::refused));
    }
}

TEST_CASE("replica: nothing proves a block device; when the sender remembers more, its points are "
          "suspect") {
    sim_file_system files(1);
    REQUIRE(files.make_directories("/dev"));
    files.add_block_device("/dev/a", 1 << 20);
    replica_options options;
    options.state_directory = "/state";
    REQUIRE(replica_group::create(files, options, {{"a", 1 << 20, "/dev/a"}}));
    primary_model model(3, {1 << 20});
    for (const bool went_back : {false, true}) {
        CAPTURE(went_back);
        auto group = std::move(*replica_group::open(files, options));
        REQUIRE(test::append_all(*group, model.interval(10, primary_model::plain())));
        REQUIRE(group->sync_journal());
        REQUIRE(test::apply_all(*group));
        REQUIRE(group->commit());
        group.reset();
        group = std::move(*replica_group::open(files, options));
        CHECK(group->position().damage_count == 0);
        CHECK(group->open_point(interval_id{1}));
        if (went_back) {
            group->suspect_unproved();
            CHECK(is(group->open_point(interval_id{1}).error(), errc::refused));
            REQUIRE(group->commit());
            group.reset();
            group = std::move(*replica_group::open(files, options));
            CHECK(is(group->open_point(interval_id{1}).error(), errc::refused));
            CHECK(is(group->open_point(interval_id{2}).error(), errc::refused));
        }
    }
    // What the journal holds is applied to the same images; and the mark outlives a kill without a
    // commit.
    auto group = std::move(*replica_group::open(files, options));
    REQUIRE(test::append_all(*group, model.interval(10, primary_model::plain())));
    REQUIRE(group->sync_journal());
    group->suspect_unproved();
    CHECK_FALSE(group->suspicion_durable());
    REQUIRE(group->apply());
    CHECK(group->suspicion_durable());
    for (const bool killed : {false, true}) {
        CAPTURE(killed);
        if (killed) {
            group.reset();
            group = std::move(*replica_group::open(files, options));
            REQUIRE(test::apply_all(*group));
        }
        REQUIRE(group->points().back().id == interval_id{3});
        CHECK(group->points().back().suspect);
        CHECK_FALSE(group->position().newest_point);
        CHECK(group->position().newest_kept->id == interval_id{3});
        CHECK(is(group->open_point(interval_id{3}).error(), errc::refused));
    }
    rig r; // files that were proved are another matter: state and images are of one moment
    r.write();
    stop(r);
    r.open();
    r.group->suspect_unproved();
    CHECK(r.group->open_point(interval_id{1}));
}

TEST_CASE("replica: damage found at the start does not take back what is suspect already") {
    sim_file_system files(1);
    REQUIRE(files.make_directories("/dev"));
    files.add_block_device("/dev/a", 1 << 20);
    replica_options options;
    options.state_directory = "/state";
    REQUIRE(replica_group::create(files, options,
                                  {{"a", 1 << 20, "/dev/a"}, {"b", 10'000, "/images/b.img"}}));
    primary_model model(3, {1 << 20, 10'000});
    auto group = std::move(*replica_group::open(files, options));
    const auto take = [&] {
        REQUIRE(test::append_all(*group, model.interval(10, primary_model::plain())));
        REQUIRE(group->sync_journal());
    };
    take();
    REQUIRE(test::apply_all(*group));
    REQUIRE(group->commit());
    group.reset();
    group = std::move(*replica_group::open(files, options));
    take();
    group->suspect_unproved();
    REQUIRE(group->commit());
    group.reset();
    write_byte(files, "/images/b.img");
    group = std::move(*replica_group::open(files, options));
    CHECK(group->position().damage_count == 1);
    CHECK(group->position().suspect == interval_id{2});
}

TEST_CASE(
    "replica: state and images put back together are one whole copy, if their times were kept") {
    rig r;
    r.write(10);
    stop(r);
    sim_file_system before(r.files); // a snapshot of the machine
    r.open();
    r.write(10);
    stop(r);
    const auto group = replica_group::open(before, r.options);
    REQUIRE(group);
    CHECK((*group)->position().damage_count == 0);
    CHECK(*test::read_point(*(*group)->open_point(interval_id{1})) == r.model.at(interval_id{1}));
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
