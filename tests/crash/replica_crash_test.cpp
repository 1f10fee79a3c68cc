// The replica group stopped after every mutating call, killed or cut from power, opened again (and
// stopped inside that too): durable intervals are all there, the images equal the model, every
// point is right, and it goes on. Then: any call fails once; disks run full; bytes rot.

#include "replicator/replica/replica_group.hpp"
#include "tests/support/replica_rig.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <string_view>

namespace farshore {
namespace {

using test::primary_model;

const std::vector<std::uint64_t> sizes = {120 * 1024, 9'000};

replica_options options_of(std::uint64_t batch = 32 << 20) {
    replica_options o;
    o.state_directory = "/state";
    o.journal_bytes_max = 1ULL << 30;
    o.batch_bytes_max = batch;
    o.segment_bytes = batch > 100'000 ? 64 * 1024 : 24 * 1024; // several segments
    return o;
}

/// One point in ten stays, history is packed in small pieces, and they are merged.
replica_options packing_options() {
    replica_options o = options_of();
    o.segment_bytes = 24 * 1024;
    o.stretch_bytes = 1; // a segment each
    o.retain = {{std::chrono::seconds(10), std::chrono::hours(1)}};
    return o;
}

/// The primary's side of a scenario, made once: the frames of each interval.
struct story {
    primary_model model{11, sizes};
    std::vector<std::vector<buffer>> intervals;
    std::set<std::uint64_t> points;

    /// `shape`: a character an interval. '.' a point of random writes; '-' the same in a catch-up;
    /// 'o' blocks that every such interval writes anew, in a catch-up; 'O' the same as a point.
    explicit story(std::string_view shape = ".....----.....") {
        bool ordered = true;
        for (const char c : shape) {
            const bool consistent = c == '.' || c == 'O';
            if (ordered && !consistent) {
                model.begin_stream();
            }
            ordered = consistent;
            const barrier end = primary_model::plain(consistent);
            intervals.push_back(c == '.' || c == '-' ? model.interval(5, end) : overwrite(end));
            if (consistent) {
                points.insert(intervals.size());
            }
        }
    }

  private:
    std::vector<buffer> overwrite(const barrier &end) {
        return model.interval_by(
            [&](auto &images, auto &touched) {
                for (const std::uint64_t block : {0, 1, 2, 3, 9, 17}) {
                    byte_vector &image = images[0];
                    for (std::uint64_t n = 0; n < block_bytes; ++n) {
                        image[block * block_bytes + n] = static_cast<std::byte>(model.below(256));
                    }
                    touched.emplace(0, block);
                }
            },
            end);
    }
};

/// A catch-up that goes on: most of its undo is needed for the roll-back only. Then points again.
constexpr std::string_view long_catch_up = ".Oo-oooo-ooO.ooo.";

struct promise {
    std::uint64_t durable = 0; ///< of the last sync_journal that succeeded
    std::uint64_t given = 0;   ///< last interval that append saw
};

/// Packs what there is; an error is no reason to stop.
void pack(replica_group &group) {
    for (auto more = group.pack(); more && *more;) {
        more = group.pack();
    }
}

/// One life: from where the group stands to the end of the story.
result<> live(file_system &files, const replica_options &options, const story &s, promise &p) {
    FS_TRY(group, replica_group::open(files, options));
    std::uint64_t id = group->position().durable.interval.value;
    while (id < s.intervals.size()) {
        for (int n = 0; n < 2 && id < s.intervals.size(); ++n) {
            p.given = std::max(p.given, id + 1);
            FS_CHECK(test::append_all(*group, s.intervals[id]));
            ++id;
        }
        FS_CHECK(group->sync_journal());
        p.durable = id;
        FS_CHECK(group->apply());
        if (id % 4 == 0) {
            FS_CHECK(group->commit());
            FS_CHECK(group->retain(wall_time{}));
        }
        if (options.stretch_bytes != 0) {
            if (id % 8 == 0) {
                FS_CHECK(group->commit()); // both commit records are past it
            }
            pack(*group);
        }
    }
    return group->commit();
}

/// With retention: the first of each ten and the newest are there, and none that was no point.
void check_kept(const std::set<std::uint64_t> &points, const std::set<std::uint64_t> &all) {
    CHECK(std::ranges::includes(all, points));
    std::set<std::uint64_t> wanted;
    std::uint64_t bucket = UINT64_MAX;
    for (const std::uint64_t id : all) { // at second 1,000,000 + id
        if (id / 10 != bucket) {
            wanted.insert(id);
        }
        bucket = id / 10;
    }
    CHECK(std::ranges::includes(points, wanted));
    CHECK((all.empty() || points.contains(*all.rbegin())));
}

void check_content(replica_group &group, const story &s, bool retained = false) {
    const std::uint64_t applied = group.position().applied.interval.value;
    CHECK(*test::read_images(group) == s.model.at(interval_id{applied}));
    std::set<std::uint64_t> points;
    for (const replica_point &point : group.points()) {
        points.insert(point.id.value);
        const auto opened = group.open_point(point.id);
        REQUIRE(opened.has_value());
        const auto images = test::read_point(*opened);
        REQUIRE(images.has_value());
        CHECK(*images == s.model.at(point.id));
    }
    const std::set<std::uint64_t> all(s.points.begin(), s.points.upper_bound(applied));
    if (retained) {
        check_kept(points, all);
    } else {
        CHECK(points == all);
    }
}

void check(file_system &files, const replica_options &options, const story &s, const promise &p) {
    auto opened = replica_group::open(files, options);
    REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
    replica_group &group = **opened;
    const std::uint64_t durable = group.position().durable.interval.value;
    CHECK(durable >= p.durable);
    CHECK(durable <= p.given);
    CHECK(group.position().damage_count == 0);
    const bool retained = !options.retain.empty();
    check_content(group, s, retained);
    const auto applied = test::apply_all(group);
    REQUIRE_MESSAGE(applied.has_value(), (applied ? "" : applied.error().text()));
    CHECK(applied->damaged.empty());
    CHECK(group.position().applied.interval.value == durable);
    check_content(group, s, retained);
}

void cut(sim_file_system &files, std::uint64_t seed) {
    if (seed == 5) {
        files.kill();
    } else {
        files.power_cut(seed);
    }
}

void sweep(const story &s, const replica_options &options, std::uint64_t stride) {
    sim_file_system made(3);
    REQUIRE(replica_group::create(made, options, test::volumes_of(sizes)).has_value());
    std::uint64_t calls = 0;
    {
        sim_file_system whole(made);
        promise all;
        REQUIRE(live(whole, options, s, all).has_value());
        calls = whole.mutating_calls();
    }
    REQUIRE(calls > 50);
    for (std::uint64_t stop = 0; stop <= calls; stop += stride * test::one_in) {
        sim_file_system files(made);
        promise p;
        files.stop_after(stop);
        const auto process = files.process();
        static_cast<void>(live(*process, options, s, p).has_value());
        for (std::uint64_t seed = 0; seed < 6; ++seed) {
            CAPTURE(stop);
            CAPTURE(seed);
            sim_file_system copy(files);
            cut(copy, seed);
            check(copy, options, s, p);
        }
        // Stopped again inside the recovery, and inside what follows it.
        for (std::uint64_t second = 1; second < 40; second += 3) {
            CAPTURE(stop);
            CAPTURE(second);
            sim_file_system copy(files);
            cut(copy, stop + second);
            promise later = p;
            copy.stop_after(second);
            const auto again = copy.process();
            static_cast<void>(live(*again, options, s, later).has_value());
            cut(copy, stop * 7 + second);
            check(copy, options, s, later);
        }
    }
}

TEST_SUITE_BEGIN("crash");

TEST_CASE(
    "replica: stopped after each call and cut, nothing durable is lost and all points are right") {
    sweep(story(), options_of(), 1);
}

TEST_CASE("replica: the same when every interval is applied in several steps") {
    sweep(story(), options_of(8192), 3);
}

TEST_CASE("replica: the same in a long catch-up, whose undo is in two logs") {
    sweep(story(long_catch_up), options_of(), 2);
}

TEST_CASE("replica: the same in a long catch-up when every interval is applied in several steps") {
    sweep(story(long_catch_up), options_of(8192), 3);
}

/// Packing makes many calls; a fifth of them is enough, and less under sanitizers.
constexpr std::uint64_t packing_stride = 5 * test::one_in;
constexpr std::string_view many_points = "............--o-O.............";

TEST_CASE("replica: the same while its history is packed, thinned and merged") {
    const story s(many_points);
    {
        sim_file_system whole(3);
        REQUIRE(
            replica_group::create(whole, packing_options(), test::volumes_of(sizes)).has_value());
        promise all;
        REQUIRE(live(whole, packing_options(), s, all).has_value());
        bool merged = false;
        for (const std::string &name : *whole.list("/state/packed")) {
            merged = merged || !name.ends_with("-000000.pack");
        }
        CHECK(merged); // else this shows nothing
    }
    sweep(s, packing_options(), 11);
}

TEST_CASE("replica: create stopped after each call can be tried again") {
    for (std::uint64_t stop = 0;; ++stop) {
        sim_file_system files(stop);
        files.stop_after(stop);
        const auto process = files.process();
        const bool done =
            replica_group::create(*process, options_of(), test::volumes_of(sizes)).has_value();
        for (std::uint64_t seed = 0; seed < 6; ++seed) {
            CAPTURE(stop);
            CAPTURE(seed);
            sim_file_system copy(files);
            cut(copy, seed);
            const auto there = replica_group::exists(copy, "/state");
            REQUIRE(there.has_value());
            CHECK((!done || *there));
            if (!*there) {
                const auto made =
                    replica_group::create(copy, options_of(), test::volumes_of(sizes));
                CHECK_MESSAGE(made.has_value(), (made ? "" : made.error().text()));
            }
            CHECK(replica_group::open(copy, options_of()).has_value());
        }
        if (done) {
            break;
        }
    }
}

/// `stride`: of so many calls one.
void fail_each_call(const story &s, const replica_options &options, sim_scope scope, int number,
                    std::uint64_t stride = 1) {
    sim_file_system made(4);
    REQUIRE(replica_group::create(made, options, test::volumes_of(sizes)).has_value());
    for (std::uint64_t nth = 1;; nth += stride) {
        CAPTURE(nth);
        CAPTURE(number);
        sim_file_system files(made);
        files.inject(
            {.scope = scope, .path_prefix = "", .nth = nth, .forever = false, .number = number});
        promise p;
        const auto process = files.process();
        const bool untouched = live(*process, options, s, p).has_value();
        files.clear_faults();
        sim_file_system killed(files);
        killed.kill();
        check(killed, options, s, p);
        sim_file_system copy(files);
        copy.power_cut(nth);
        check(copy, options, s, p);
        if (untouched && nth > 400) {
            break;
        }
    }
}

TEST_CASE("replica: any one call may fail") {
    fail_each_call(story(), options_of(), sim_scope::every, EIO);
    fail_each_call(story(), options_of(8192), sim_scope::mutating, ENOSPC);
    fail_each_call(story(long_catch_up), options_of(), sim_scope::every, EIO);
    fail_each_call(story(long_catch_up), options_of(8192), sim_scope::mutating, ENOSPC);
    fail_each_call(story(many_points), packing_options(), sim_scope::every, EIO, packing_stride);
    fail_each_call(story(many_points), packing_options(), sim_scope::mutating, ENOSPC,
                   packing_stride);
}

TEST_CASE("replica: any one sync may fail, and what was not synced is never counted on") {
    fail_each_call(story(), options_of(), sim_scope::syncs, EIO);
    fail_each_call(story(long_catch_up), options_of(8192), sim_scope::syncs, EIO);
    fail_each_call(story(many_points), packing_options(), sim_scope::syncs, EIO, packing_stride);
}

TEST_CASE("replica: a full disk stops it, nothing is lost, and it goes on when there is space") {
    const story s(long_catch_up);
    for (std::uint64_t room = 0; room < 60; ++room) {
        CAPTURE(room);
        sim_file_system files(room);
        REQUIRE(
            replica_group::create(files, options_of(8192), test::volumes_of(sizes)).has_value());
        auto group = replica_group::open(files, options_of(8192));
        REQUIRE(group.has_value());
        files.set_capacity(files.used_bytes() + room * 4096);
        std::uint64_t id = 0;
        bool refused = false;
        for (int tries = 0; id < s.intervals.size() && tries < 100; ++tries) {
            if (tries == 50) {
                files.set_capacity(1 << 30);
            }
            const auto appended = test::append_all(**group, s.intervals[id]);
            refused = refused || !appended;
            id += appended ? 1 : 0;
            REQUIRE((*group)->sync_journal().has_value());
            const auto applied = (*group)->apply();
            if (!applied) {
                refused = true;
                CHECK_MESSAGE(is_errno(applied.error(), ENOSPC), applied.error().text());
            }
            REQUIRE((*group)->commit().has_value());
        }
        CHECK(id == s.intervals.size());
        REQUIRE(test::apply_all(**group).has_value());
        CHECK((refused || room > 20));
        check_content(**group, s);
        CHECK((*group)->position().applied.interval.value == s.intervals.size());
    }
}

TEST_CASE(
    "replica: damage of undo found at open is not forgotten, wherever the recovery is stopped") {
    const story s(".Oooo");
    for (const std::string directory : {"/state/undo", "/state/rollback"}) {
        sim_file_system made(6);
        REQUIRE(replica_group::create(made, options_of(), test::volumes_of(sizes)).has_value());
        {
            auto group = replica_group::open(made, options_of());
            REQUIRE(group.has_value());
            for (std::size_t n = 0; n < s.intervals.size(); ++n) {
                REQUIRE(test::append_all(**group, s.intervals[n]).has_value());
                REQUIRE((*group)->sync_journal().has_value());
                REQUIRE(test::apply_all(**group).has_value());
                if (n == 1) { // behind it the history has a record, and the rollback log two
                    REQUIRE((*group)->commit().has_value());
                }
            }
        }
        made.kill();
        // The record behind the commit in the history; the first of two in the rollback log.
        const std::string path = directory + "/0000000001.seg";
        if (directory == "/state/undo") {
            const auto lost = std::move(*made.open(path, open_mode::read_write));
            REQUIRE(lost->truncate(64).has_value());
            REQUIRE(lost->sync_data().has_value());
        } else {
            made.corrupt(path, 1000);
        }
        bool whole = false;
        for (std::uint64_t stop = 0; !whole; ++stop) {
            CAPTURE(directory);
            CAPTURE(stop);
            sim_file_system files(made);
            files.stop_after(stop);
            const auto process = files.process();
            whole = replica_group::open(*process, options_of()).has_value();
            for (std::uint64_t seed = 0; seed < 6; ++seed) {
                CAPTURE(seed);
                sim_file_system copy(files);
                cut(copy, seed);
                for (int life = 0; life < 2; ++life) {
                    const auto group = replica_group::open(copy, options_of());
                    REQUIRE_MESSAGE(group.has_value(), (group ? "" : group.error().text()));
                    CHECK((*group)->position().damage_count >= 1);
                    CHECK((*group)->points().empty());
                }
            }
        }
    }
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
