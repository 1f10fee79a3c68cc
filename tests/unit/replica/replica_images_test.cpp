// Images and state are of one moment, or it is said: what a replica group does when somebody else
// touched its images, put them or the state back, or took them away under it.

#include "tests/unit/replica/replica_test_rig.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

constexpr std::int64_t hour = 3'600'000'000'000;

/// The files of `from` below a directory take the place of those there, as a restore makes them:
/// other inodes, new times.
void put_back(sim_file_system &files, sim_file_system &from, const std::string &directory) {
    for (const std::string &name : *files.list(directory)) {
        const std::string path = join_path(directory, name);
        if (auto below = files.list(path)) {
            put_back(files, from, path);
        } else {
            REQUIRE(files.remove(path));
        }
    }
    for (const std::string &name : *from.list(directory)) {
        const std::string path = join_path(directory, name);
        if (from.list(path)) {
            continue;
        }
        const auto old = std::move(*from.open(path, open_mode::read));
        byte_vector content(*old->size());
        REQUIRE(old->read_at(0, content));
        const auto made = std::move(*files.open(path, open_mode::create_new));
        REQUIRE(made->write_at(0, content));
        REQUIRE(made->sync_data());
    }
    REQUIRE(files.sync_directory(directory));
}

void write_byte(sim_file_system &files, const std::string &path) {
    const auto image = std::move(*files.open(path, open_mode::read_write));
    REQUIRE(image->write_at(100, as_bytes("x")));
    REQUIRE(image->sync_all()); // a power cut does not take it back
}

std::vector<byte_vector> images_of(sim_file_system &files) {
    std::vector<byte_vector> all;
    for (std::size_t v = 0; v < sizes.size(); ++v) {
        byte_vector one(sizes[v]);
        REQUIRE(files.open("/images/vol" + std::to_string(v) + ".img", open_mode::read)
                    .value()
                    ->read_at(0, one));
        all.push_back(std::move(one));
    }
    return all;
}

/// Damage, no point until it is healed, and the points of before not served.
void check_suspect(rig &r, std::size_t points) {
    CHECK(r.group->position().damage_count == 1);
    CHECK(r.group->position().damaged);
    CHECK_FALSE(r.group->position().newest_point.has_value());
    REQUIRE(r.group->points().size() == points);
    CHECK_FALSE(
        r.group->changed_since(r.group->points().back().id)); // what others wrote is in no undo
    for (const replica_point &p : r.group->points()) {
        CHECK(p.suspect);
        CHECK(is(r.group->open_point(p.id).error(), errc::refused));
        CHECK(r.group->open_point(p.id, true).has_value());
    }
    // Once is enough, and it stays.
    r.open();
    CHECK(r.group->position().damage_count == 1);
    CHECK(r.group->points().front().suspect);
    r.write();
    CHECK(r.group->points().size() == points);
    barrier whole = primary_model::plain();
    whole.heals = 1;
    r.take(r.model.everything(whole));
    REQUIRE(r.group->points().size() == points + 1);
    CHECK_FALSE(r.group->position().damaged);
    CHECK_FALSE(r.group->changed_since(r.group->points()[points - 1].id));
    CHECK(r.group->changed_since(r.group->points().back().id));
    CHECK_FALSE(r.group->points().back().suspect);
    CHECK(r.group->position().newest_point->id == r.group->points().back().id);
    CHECK(*test::read_point(*r.group->open_point(r.group->points().back().id)) == r.model.now());
    CHECK(is(r.group->open_point(r.group->points().front().id).error(), errc::refused));
    r.open();
    REQUIRE(test::apply_all(*r.group)); // what was not committed, again
    CHECK(r.group->points().front().suspect);
    CHECK_FALSE(r.group->points().back().suspect);
}

/// As the receiver stops.
void stop(rig &r) {
    REQUIRE(r.group->close());
    r.group.reset();
}

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

TEST_CASE("replica: an image written by somebody else while the receiver runs is found at the next "
          "commit") {
    rig r;
    r.write(10);
    r.write(10);
    REQUIRE(r.group->commit());
    write_byte(r.files, "/images/vol0.img");
    REQUIRE(r.group->commit());
    CHECK(r.group->position().trouble.find("/images/vol0.img") != std::string::npos);
    check_suspect(r, 2);
}

TEST_CASE("replica: an image written by somebody else before anything was applied is damage, and "
          "the copy still opens") {
    rig r;
    for (std::uint64_t count = 1; count <= 2; ++count) { // each in a commit record
        write_byte(r.files, "/images/vol0.img");
        REQUIRE(r.group->commit());
        CHECK(r.group->position().damage_count == count);
    }
    r.open();
    CHECK(r.group->position().damage_count == 2);
    r.write();
    CHECK(r.group->points().empty());
}

TEST_CASE("replica: an image written by somebody else is found although apply writes to it before "
          "the next commit") {
    rig r;
    r.write(10);
    REQUIRE(r.group->commit());
    write_byte(r.files, "/images/vol0.img");
    r.write(20); // to the same image
    REQUIRE(r.group->commit());
    CHECK(r.group->position().damage_count >= 1);
    CHECK_FALSE(r.group->position().newest_point);
    REQUIRE(r.group->points().size() == 1);
    CHECK(r.group->points().front().suspect);
}

TEST_CASE("replica: killed after image writes that took minutes, they are still its own") {
    for (const bool waits : {false, true}) { // for space, within a step
        CAPTURE(waits);
        rig r;
        r.write(10);
        REQUIRE(r.group->commit());
        std::uint64_t writes = 0;
        const auto pass = [&](const sim_call &call) {
            if ((call.what == sim_operation::write || call.what == sim_operation::zero) &&
                call.path.starts_with("/images/")) {
                ++writes;
                r.files.pass_stamp_time(20'000'000'000);
            }
        };
        r.files.before_call(pass);
        REQUIRE(test::append_all(*r.group, r.model.interval(40, primary_model::plain())));
        REQUIRE(r.group->sync_journal());
        if (waits) {
            r.files.inject({.scope = sim_scope::writes,
                            .path_prefix = "/images/vol0.img",
                            .forever = true,
                            .number = ENOSPC});
            CHECK(is_errno(r.group->apply().error(), ENOSPC));
            r.files.clear_faults();
            r.files.pass_stamp_time(20'000'000'000);
        }
        REQUIRE(test::apply_all(*r.group));
        CHECK(writes > 2);
        r.files.before_call({});
        r.group.reset(); // not committed
        r.files.pass_stamp_time(hour);
        r.open();
        CHECK(r.group->position().damage_count == 0);
        CHECK(r.group->open_point(interval_id{1}));
    }
}

TEST_CASE("replica: while the path of an image leads elsewhere nothing is acknowledged, and it is "
          "named") {
    for (const int what : {0, 1, 2}) {
        CAPTURE(what);
        rig r;
        r.write(10);
        const std::string path = "/images/vol1.img";
        REQUIRE(test::append_all(*r.group, r.model.interval(10, primary_model::plain())));
        if (what == 0) {
            REQUIRE(r.files.remove(path));
        } else {
            REQUIRE(r.files.rename(path, "/images/gone"));
        }
        if (what == 2) {
            REQUIRE(r.files.open(path, open_mode::create_new));
        }
        const auto synced = r.group->sync_journal();
        REQUIRE_FALSE(synced);
        CHECK(is(synced.error(), errc::not_found));
        CHECK(synced.error().context.find(path) != std::string::npos);
        CHECK(r.group->position().durable.interval == interval_id{1});
        CHECK(is(r.group->commit().error(), errc::dead));
        if (what != 0) { // put back, it goes on as if nothing had been
            REQUIRE(r.files.rename("/images/gone", path));
            r.open();
            REQUIRE(test::apply_all(*r.group));
            CHECK(r.group->position().damage_count == 0);
            CHECK(r.group->open_point(interval_id{1}));
        }
    }
}

TEST_CASE("replica: an image that goes away between the journal's sync and apply is not told to be "
          "applied") {
    rig r;
    REQUIRE(test::append_all(*r.group, r.model.interval(10, primary_model::plain())));
    REQUIRE(r.group->sync_journal());
    REQUIRE(r.files.remove("/images/vol0.img"));
    CHECK(is(r.group->apply().error(), errc::not_found));
    rig idle;
    REQUIRE(idle.files.remove("/images/vol0.img"));
    CHECK(is(idle.group->commit().error(), errc::not_found));
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
