// A copy whose images clients write to: points of before stay what they were, whenever it is cut
// off; it becomes a copy that follows again, with what it held as a point.

#include "replicator/base/geometry.hpp"
#include "tests/unit/replica/replica_test_rig.hpp"

#include <doctest/doctest.h>

#include <random>
#include <thread>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("replica");

/// Clients of a served copy, with a file of their own for each image.
class clients {
  public:
    clients(file_system &files, replica_group &group, std::uint64_t seed)
        : group_(group), random_(seed) {
        for (const replica_volume &v : group.volumes()) {
            auto opened = files.open(v.path, open_mode::read_write);
            disks_.push_back(opened ? std::move(*opened) : nullptr);
        }
    }
    /// Writes a few hundred bytes anywhere, or zeroes blocks.
    result<> write() {
        const auto v = static_cast<std::uint16_t>(random_() % disks_.size());
        const std::uint64_t size = group_.volumes()[v].size;
        const std::uint64_t at = random_() % size;
        const byte_range range{at, std::min<std::uint64_t>(1 + random_() % 9000, size - at)};
        FS_CHECK(group_.keep_before(volume_index{v}, range));
        if (random_() % 4 == 0) {
            return disks_[v]->zero(range, true, false);
        }
        byte_vector bytes(static_cast<std::size_t>(range.length));
        std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random_()); });
        return disks_[v]->write_at(at, bytes);
    }
    result<> flush() {
        for (auto &disk : disks_) {
            FS_CHECK(disk->sync_data());
        }
        return {};
    }

  private:
    replica_group &group_;
    std::mt19937_64 random_;
    std::vector<std::unique_ptr<file>> disks_;
};

struct served_rig : rig {
    /// Some points, and the copy is served.
    void serve(int points = 4) {
        for (int i = 0; i < points; ++i) {
            write();
        }
        REQUIRE(group->commit().has_value());
        options.serve = options.keep_all = true;
        open();
        REQUIRE(group->served());
    }
    void end(const std::string &name) {
        options.serve = options.keep_all = false;
        options.left_as = point_label{label_kind::crash, name};
        open();
        REQUIRE_FALSE(group->served());
    }
    /// Each point of the primary's is what it was.
    void check_points(std::size_t at_least = 1) {
        const auto points = group->points();
        CHECK(points.size() >= at_least);
        for (const replica_point &p : points) {
            CAPTURE(p.id.value);
            CHECK_FALSE(p.suspect);
            if (p.name.empty()) {
                CHECK(*test::read_point(*group->open_point(p.id)) == model.at(p.id));
            }
        }
    }
};

TEST_CASE("served: clients write, and points of before stay, those too that are open") {
    served_rig r;
    r.serve();
    const auto oldest = r.group->points().front();
    auto open = r.group->open_point(oldest.id);
    REQUIRE(open.has_value());
    clients c(r.files, *r.group, 7);
    for (int i = 0; i < 60; ++i) {
        REQUIRE(c.write().has_value());
        if (i % 10 == 0) {
            REQUIRE(r.group->commit().has_value());
            REQUIRE(r.group->retain(wall_time(std::chrono::hours(1))).has_value());
        }
    }
    r.check_points(4);
    CHECK(*test::read_point(*open) == r.model.at(oldest.id));
    CHECK(*test::read_images(*r.group) != r.model.now());
    CHECK(r.group->position().in_catch_up); // the images show no point
    CHECK(is(r.group->append(r.model.interval(1, primary_model::plain()).front().view()).error(),
             errc::refused));
    CHECK(r.group->apply()->intervals == 0);
    const auto before = *test::read_images(*r.group);
    open = fail(errc::closed, "");
    r.open(); // a restart: nothing is rolled back
    CHECK(r.group->served());
    CHECK(*test::read_images(*r.group) == before);
    r.check_points(4);
}

TEST_CASE("served: a region is kept once, also over restarts and by writers at once") {
    served_rig r;
    r.serve();
    CHECK_FALSE(r.group->kept_before(volume_index{0}, {100, 1}));
    REQUIRE(r.group->keep_before(volume_index{0}, {100, 1}).has_value());
    CHECK(r.group->kept_before(volume_index{0}, {0, region_bytes}));
    CHECK_FALSE(r.group->kept_before(volume_index{0}, {region_bytes - 1, 2}));
    const std::uint64_t used = r.group->used_bytes();
    r.open();
    CHECK(r.group->kept_before(volume_index{0}, {0, region_bytes}));
    CHECK(r.group->used_bytes() <= used);
    std::vector<std::jthread> all;
    for (int i = 0; i < 4; ++i) {
        all.emplace_back([&, i] {
            for (std::uint64_t at = 0; at < sizes[0]; at += 4096) {
                CHECK(r.group->keep_before(volume_index{0}, {(at + 1024U * i) % sizes[0], 100})
                          .has_value());
            }
        });
    }
    all.clear();
    CHECK(r.group->kept_before(volume_index{0}, {0, sizes[0]}));
    r.check_points();
}

TEST_CASE("served: what waits to be applied comes first") {
    served_rig r;
    r.write();
    REQUIRE(test::append_all(*r.group, r.model.interval(6, primary_model::plain())).has_value());
    REQUIRE(r.group->sync_journal().has_value());
    r.options.serve = true;
    r.open();
    CHECK_FALSE(r.group->served());
    REQUIRE(test::apply_all(*r.group).has_value());
    REQUIRE(r.group->close().has_value());
    r.open();
    CHECK(r.group->served());
    CHECK(*test::read_images(*r.group) == r.model.now());
}

TEST_CASE("served: at its end what it holds is a point, and a stream goes on over it") {
    served_rig r;
    r.serve();
    clients c(r.files, *r.group, 3);
    for (int i = 0; i < 20; ++i) {
        REQUIRE(c.write().has_value());
    }
    const auto held = *test::read_images(*r.group);
    const interval_id fork = r.group->points().back().id;
    r.end("diverged-1");
    const replica_point last = r.group->points().back();
    CHECK(last.name == "diverged-1");
    CHECK(last.pinned);
    CHECK(last.id > fork);
    CHECK(r.group->position().durable.interval == last.id);
    CHECK_FALSE(r.group->position().in_catch_up);
    // What a primary asks that remembers the fork: every region that clients touched.
    const auto changed = r.group->changed_since(fork);
    REQUIRE(changed.has_value());
    CHECK_FALSE(changed->empty());
    r.options.left_as.reset();
    r.open();
    CHECK(r.group->points().back().name == "diverged-1");
    // The primary ships all that it has, as one step; ids go on above the copy's.
    while (r.model.position().interval < last.id) {
        r.model.interval(1, primary_model::plain());
    }
    r.take(r.model.everything(primary_model::plain()));
    CHECK(*test::read_images(*r.group) == r.model.now());
    CHECK(*test::read_point(*r.group->open_point(last.id)) == held);
    r.check_points(6);
}

TEST_CASE("served: the way back to a point is what the history has after it") {
    served_rig r;
    r.serve();
    clients c(r.files, *r.group, 9);
    for (int i = 0; i < 30; ++i) {
        REQUIRE(c.write().has_value());
    }
    const auto points = r.group->points();
    const replica_point to = points[points.size() - 2];
    const auto past = r.group->open_point(to.id);
    REQUIRE(past.has_value());
    const auto done = r.group->each_change_after(
        to.id, [&](volume_index v, std::uint64_t block, std::uint64_t count) -> result<> {
            const std::uint64_t at = block * block_bytes;
            const byte_range range{at, std::min(count * block_bytes, sizes[v.value] - at)};
            byte_vector old(static_cast<std::size_t>(range.length));
            FS_CHECK(past->devices[v.value]->read(at, old));
            FS_CHECK(r.group->keep_before(v, range));
            FS_TRY(disk, r.files.open(r.group->volumes()[v.value].path, open_mode::read_write));
            return disk->write_at(at, old);
        });
    REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().text()));
    CHECK(*test::read_images(*r.group) == r.model.at(to.id));
    r.check_points(4);
    CHECK(is(r.group->each_change_after(interval_id{999}, {}).error(), errc::not_found));
}

TEST_CASE("served: without room writes are refused until points may go, and then points go") {
    served_rig r;
    r.options.journal_bytes_max = 280'000; // of the points, and less than all that is changed
    r.options.segment_bytes = 16 * 1024;
    r.open();
    r.serve();
    clients c(r.files, *r.group, 3);
    result<> done;
    for (int i = 0; i < 600 && done; ++i) {
        done = c.write();
        REQUIRE(r.group->commit().has_value());
    }
    REQUIRE_FALSE(done.has_value());
    CHECK(is(done.error(), errc::full));
    CHECK(done.error().context.find("farshore commit") != std::string::npos);
    r.check_points(4);
    r.group->let_points_go();
    for (int i = 0; i < 200; ++i) {
        REQUIRE(c.write().has_value());
        REQUIRE(r.group->commit().has_value());
    }
    for (const replica_point &p : r.group->points()) {
        if (!p.suspect) {
            CHECK(*test::read_point(*r.group->open_point(p.id)) == r.model.at(p.id));
        }
    }
}

TEST_CASE("served: a disk that is full for a while refuses writes, and what was kept counts") {
    for (const std::uint64_t nth : {1U, 2U, 3U, 4U, 6U}) {
        CAPTURE(nth);
        served_rig r;
        r.serve();
        const auto keep = [&](std::uint64_t region) {
            return r.group->keep_before(volume_index{0}, {region * region_bytes, 100});
        };
        REQUIRE(keep(0).has_value()); // so that there is something to commit
        r.files.inject({.scope = sim_scope::writes,
                        .path_prefix = "/state/undo",
                        .nth = nth,
                        .forever = true,
                        .number = ENOSPC});
        const auto full = r.group->commit(); // without room the interval goes on
        if (!full) { // nor could what it began be taken back: opened again it is
            CHECK(is(full.error(), errc::dead));
            r.files.clear_faults();
            r.open();
            r.check_points(4);
            continue;
        }
        const bool refused = !keep(1);
        REQUIRE(r.group->commit().has_value());
        CHECK((refused || !keep(2)));
        r.files.clear_faults();
        REQUIRE(keep(3).has_value());
        REQUIRE(r.group->commit().has_value());
        r.check_points(4);
        r.open();
        CHECK(r.group->kept_before(volume_index{0}, {0, 100}));
        CHECK(r.group->kept_before(volume_index{0}, {3 * region_bytes, 100}));
        r.check_points(4);
        r.end("left");
        CHECK(r.group->points().back().name == "left");
    }
}

TEST_CASE("served: a history that can't be synced ends the serving, also for want of space") {
    served_rig r;
    r.serve();
    clients c(r.files, *r.group, 13);
    REQUIRE(c.write().has_value());
    REQUIRE(r.group->commit().has_value());
    r.files.inject({.scope = sim_scope::syncs, .path_prefix = "/state/undo", .number = ENOSPC});
    result<> done;
    for (int i = 0; i < 100 && done; ++i) {
        done = c.write(); // a new region
    }
    REQUIRE_FALSE(done.has_value());
    CHECK(is(done.error(), errc::dead));
    CHECK(is(r.group->commit().error(), errc::dead));
    r.open();
    r.check_points(4);
}

TEST_CASE("served: a history that rots costs the points and no byte of the images") {
    served_rig r;
    r.serve();
    clients c(r.files, *r.group, 5);
    for (int i = 0; i < 20; ++i) {
        REQUIRE(c.write().has_value());
    }
    REQUIRE(r.group->commit().has_value());
    const auto held = *test::read_images(*r.group);
    r.group.reset();
    const auto segments = *r.files.list("/state/undo");
    REQUIRE_FALSE(segments.empty());
    r.files.corrupt(join_path("/state/undo", segments.front()), 64 + 5);
    r.open();
    CHECK(r.group->served());
    CHECK(*test::read_images(*r.group) == held);
    for (const replica_point &p : r.group->points()) { // right or not to be read
        const auto content = test::read_point(*r.group->open_point(p.id));
        CHECK((!content || *content == r.model.at(p.id)));
    }
    r.end("kept");
    CHECK(*test::read_point(*r.group->open_point(r.group->points().back().id)) == held);
}

/// A life with all of it: points, serving, writes, its end. Ends early when a call fails.
result<> serve_and_end(file_system &files, primary_model &model, replica_options options,
                       std::uint64_t seed) {
    FS_CHECK(replica_group::create(files, options, test::volumes_of(sizes)));
    {
        FS_TRY(group, replica_group::open(files, options));
        for (int i = 0; i < 3; ++i) {
            FS_CHECK(test::append_all(*group, model.interval(5, primary_model::plain())));
            FS_CHECK(group->sync_journal());
            FS_CHECK(test::apply_all(*group));
        }
        FS_CHECK(group->close());
    }
    options.serve = options.keep_all = true;
    {
        FS_TRY(group, replica_group::open(files, options));
        clients c(files, *group, seed);
        for (int i = 0; i < 6; ++i) {
            FS_CHECK(c.write());
            if (i % 3 == 2) {
                FS_CHECK(group->commit());
                FS_CHECK(c.flush());
            }
        }
    }
    options.serve = options.keep_all = false;
    options.left_as = point_label{label_kind::crash, "left"};
    FS_TRY(group, replica_group::open(files, options));
    return {};
}

TEST_CASE("served: cut off after any call, points are right, and what is left can be a point") {
    std::uint64_t calls = 0;
    {
        sim_file_system files(1);
        primary_model model(5, sizes);
        replica_options options;
        options.state_directory = "/state";
        options.segment_bytes = 64 * 1024;
        REQUIRE(serve_and_end(files, model, options, 3).has_value());
        calls = files.mutating_calls();
    }
    REQUIRE(calls > 100);
    for (std::uint64_t n = 1; n < calls; n += 1) {
        CAPTURE(n);
        sim_file_system files(n);
        primary_model model(5, sizes);
        replica_options options;
        options.state_directory = "/state";
        options.segment_bytes = 64 * 1024;
        {
            const auto life = files.process();
            files.stop_after(n);
            static_cast<void>(serve_and_end(*life, model, options, 3).has_value());
        }
        files.power_cut(n % 5);
        if (!*replica_group::exists(files, "/state")) {
            continue;
        }
        std::map<std::uint64_t, test::image_set> left;  // points that ends of serving made
        for (const bool serve : {true, false, false}) { // as the role says, then not any more
            options.serve = options.keep_all = serve;
            options.left_as = point_label{label_kind::crash, "left"};
            auto group = replica_group::open(files, options);
            REQUIRE_MESSAGE(group.has_value(), (group ? "" : group.error().text()));
            if (!(*group)->served()) { // intervals come first
                REQUIRE(test::apply_all(**group).has_value());
            }
            const auto held = *test::read_images(**group);
            for (const replica_point &p : (*group)->points()) {
                CAPTURE(p.id.value);
                const auto content = *test::read_point(*(*group)->open_point(p.id));
                if (p.id.value <= 3 && p.name.empty()) {
                    CHECK(content == model.at(p.id));
                } else {
                    CHECK(left.try_emplace(p.id.value, content).first->second == content);
                }
            }
            if (!serve) {
                CHECK(*test::read_point(*(*group)->open_point((*group)->points().back().id)) ==
                      held);
            }
        }
    }
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
