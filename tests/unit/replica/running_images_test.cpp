// Images that somebody else writes to, replaces or takes away while the receiver runs.

#include "tests/unit/replica/touched_images.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("replica");

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

TEST_CASE("replica: after a failed sync of an image nothing is read that it may have lost, and a "
          "point shows its content again when the group was opened again") {
    rig r;
    r.write(10);
    REQUIRE(r.group->commit());
    r.write(10); // in the page cache alone
    const interval_id newest = r.group->points().back().id;
    {
        const auto point = r.group->open_point(newest);
        REQUIRE(point);
        REQUIRE(*test::read_point(*point) == r.model.at(newest));
        r.files.inject({.scope = sim_scope::syncs, .path_prefix = "/images/"});
        REQUIRE_FALSE(r.group->commit());
        const auto refused = [](const auto &read) {
            REQUIRE_FALSE(read);
            CHECK(is(read.error(), errc::dead));
        };
        refused(test::read_point(*point));
        refused(test::read_images(*r.group));
        for (const auto &device : point->devices) {
            byte_vector block(block_bytes);
            refused(device->try_read(0, block));
            refused(device->status({0, device->size()}, status_context::allocation, 10));
        }
    }
    r.open();
    REQUIRE(test::apply_all(*r.group));
    CHECK(*test::read_point(*r.group->open_point(newest)) == r.model.at(newest));
    CHECK(*test::read_images(*r.group) == r.model.now());
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
