// The replica group on a simulated disk: limits of space, retention, points and their devices.

#include "tests/unit/replica/replica_test_rig.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("replica");

TEST_CASE("replica: a full journal refuses with the next step, and goes on after apply") {
    rig r;
    r.options.journal_bytes_max = 600'000;
    r.options.segment_bytes = 16 * 1024;
    r.open();
    result<> refused;
    std::vector<std::vector<buffer>> pending;
    for (int i = 0; i < 200 && refused; ++i) {
        pending.push_back(r.model.interval(10, primary_model::plain()));
        refused = test::append_all(*r.group, pending.back());
    }
    REQUIRE_FALSE(refused.has_value());
    CHECK(is(refused.error(), errc::full));
    CHECK(refused.error().context.find("/state") != std::string::npos);
    CHECK(refused.error().context.find("600000") != std::string::npos);
    CHECK(refused.error().context.find("raise `journal`") != std::string::npos);
    CHECK_FALSE(r.group->partial().has_value());
    CHECK(r.group->used_bytes() <= 600'000);
    REQUIRE(r.group->sync_journal().has_value());
    REQUIRE(test::apply_all(*r.group).has_value());
    REQUIRE(r.group->commit().has_value());
    REQUIRE(r.group->commit().has_value()); // the older commit record lets go
    r.take(pending.back());
    for (int i = 0; i < 60; ++i) { // old points give way
        r.write(10);
        REQUIRE(r.group->commit().has_value());
        REQUIRE(r.group->commit().has_value());
        CHECK(r.group->used_bytes() <= 600'000);
    }
    CHECK(*test::read_images(*r.group) == r.model.now());
    const auto points = r.group->points();
    CHECK(points.size() > 1);
    CHECK(points.size() < 40);
    for (const replica_point &p : points) {
        CHECK(*test::read_point(*r.group->open_point(p.id)) == r.model.at(p.id));
    }
}

TEST_CASE("replica: retention makes room before append has to") {
    rig r;
    r.options.journal_bytes_max = 1'600'000;
    r.options.segment_bytes = 16 * 1024;
    r.open();
    for (int i = 0; i < 400 && !r.group->crowded(); ++i) {
        r.write(10);
        REQUIRE(r.group->commit().has_value());
    }
    REQUIRE(r.group->crowded());
    const std::size_t before = r.group->points().size();
    REQUIRE(r.group->retain(wall_time{}).has_value());
    CHECK_FALSE(r.group->crowded());
    const auto kept = r.group->points();
    CHECK(kept.size() < before);
    CHECK(kept.size() > before / 2);
    // A 32nd of `journal` fits now, and no point goes for it.
    const std::uint64_t used = r.group->used_bytes();
    while (r.group->used_bytes() < used + 1'600'000 / 40) {
        REQUIRE(
            test::append_all(*r.group, r.model.interval(1, primary_model::plain())).has_value());
    }
    CHECK(r.group->points().front().id == kept.front().id);
}

TEST_CASE("replica: an open point is never dropped, space or not, and reads right to the end") {
    rig r;
    r.options.journal_bytes_max = 400'000;
    r.options.segment_bytes = 16 * 1024;
    r.open();
    r.write(10);
    auto opened = std::move(*r.group->open_point(interval_id{1}));
    result<> stopped;
    for (int i = 0; i < 100 && stopped; ++i) {
        stopped = test::append_all(*r.group, r.model.interval(10, primary_model::plain()));
        if (stopped) {
            REQUIRE(r.group->sync_journal().has_value());
            const auto applied = r.group->apply();
            stopped = applied ? r.group->commit() : std::unexpected(applied.error());
        }
    }
    REQUIRE_FALSE(stopped.has_value());
    CHECK(is(stopped.error(), errc::full));
    CHECK(*test::read_point(opened) == r.model.at(interval_id{1}));
    opened = {};
    CHECK(test::apply_all(*r.group).has_value()); // space is made now
    REQUIRE(r.group->commit().has_value());
    CHECK(*test::read_images(*r.group) == r.model.at(r.group->position().applied.interval));
}

TEST_CASE("replica: the newest complete point stays through a catch-up, and undo of the first sync "
          "goes") {
    rig r;
    for (int i = 0; i < 60; ++i) { // no point yet: undo is for the roll-back only
        r.write(10, primary_model::plain(false));
        REQUIRE(r.group->commit().has_value());
    }
    CHECK(r.group->points().empty());
    CHECK_FALSE(r.group->position().damaged);
    CHECK(r.group->used_bytes() < 1'000'000);
    CHECK(r.group->position().in_catch_up);
    r.write(10);
    CHECK_FALSE(r.group->position().in_catch_up);
    r.model.begin_stream();
    r.options.retain = {{duration::zero(), std::chrono::seconds(1)}};
    r.open();
    for (int i = 0; i < 5; ++i) {
        r.write(10, primary_model::plain(false));
        REQUIRE(r.group->commit().has_value());
        REQUIRE(r.group->retain(wall_time(std::chrono::hours(1'000'000))).has_value());
    }
    REQUIRE(r.group->points().size() == 1);
    CHECK(r.group->points()[0].id.value == 61);
    CHECK(r.group->points_and_keepers(wall_time{})[0].undo_bytes > 0);
    CHECK(*test::read_point(*r.group->open_point(interval_id{61})) == r.model.at(interval_id{61}));
    r.open();
    CHECK(r.group->points()[0].id.value == 61);
}

TEST_CASE("replica: retention by age drops points, their undo and nothing else") {
    rig r;
    r.options.segment_bytes = 16 * 1024;
    r.options.retain = {{duration::zero(), std::chrono::seconds(10)},
                        {std::chrono::seconds(20), std::chrono::seconds(1000)}};
    r.open();
    for (int i = 0; i < 50; ++i) {
        r.write(4);
    }
    REQUIRE(r.group->commit().has_value());
    REQUIRE(r.group->commit().has_value());
    CHECK(r.group->points().size() == 50);
    // Points were made at 1'000'001 ... 1'000'050.
    REQUIRE(r.group->retain(wall_time(std::chrono::seconds(1'000'050))).has_value());
    std::vector<std::uint64_t> ids;
    for (const replica_point &p : r.group->points()) {
        ids.push_back(p.id.value);
        CHECK(*test::read_point(*r.group->open_point(p.id)) == r.model.at(p.id));
    }
    CHECK(ids == std::vector<std::uint64_t>{1, 20, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50});
    CHECK(is(r.group->open_point(interval_id{2}).error(), errc::not_found));
}

TEST_CASE(
    "replica: zeroing all of a large image takes bounded undo for holes and gives the space back") {
    sim_file_system files(1);
    constexpr std::uint64_t size = 1ULL << 40;
    replica_options options;
    options.state_directory = "/state";
    REQUIRE(replica_group::create(files, options, {{"big", size, "/images/big"}}).has_value());
    auto group = std::move(*replica_group::open(files, options));
    dedupe::encoder encoder({});
    const byte_vector block(block_bytes, std::byte{9});
    std::uint64_t id = 0;
    const auto take = [&](std::vector<block_change> changes) {
        std::vector<test::data_payload> payloads;
        for (const auto &p : encoder.encode(changes)) {
            payloads.push_back(
                {{p.bytes.view().begin(), p.bytes.view().end()}, p.blocks, p.raw_bytes});
        }
        const auto frames = test::make_interval({stream_id{1}, interval_id{++id}}, payloads,
                                                primary_model::plain());
        REQUIRE(test::append_all(*group, frames).has_value());
        REQUIRE(group->sync_journal().has_value());
        REQUIRE(test::apply_all(*group).has_value());
    };
    std::vector<block_change> scattered;
    for (std::uint64_t i = 0; i < 50; ++i) {
        scattered.push_back(
            {volume_index{0}, block_index{i * 5'000'000}, change_kind::data, 1, block, {}});
    }
    take(scattered);
    const std::uint64_t before = files.used_bytes();
    take({{volume_index{0}, block_index{0}, change_kind::zero, size / block_bytes, {}, {}}});
    CHECK(group->next_data(volume_index{0}, 0)->length == 0);
    CHECK(group->used_bytes() < 2'000'000);
    CHECK(files.used_bytes() < before + 500'000);
    const auto point = group->open_point(interval_id{1});
    REQUIRE(point.has_value());
    byte_vector bytes(block_bytes);
    REQUIRE(point->devices[0]->read(5'000'000 * block_bytes, bytes).has_value());
    CHECK(bytes == block);
    const auto status = point->devices[0]->status({0, size}, status_context::allocation, 10'000);
    REQUIRE(status.has_value());
    std::uint64_t data = 0;
    std::uint64_t all = 0;
    for (const status_extent &e : *status) {
        data += e.flags == 0 ? e.length : 0;
        all += e.length;
    }
    CHECK(all == size);
    CHECK(data == 50 * block_bytes);
}

TEST_CASE("point device: reads any range, refuses writes, and its status never calls data zero") {
    rig r;
    for (int i = 0; i < 6; ++i) {
        r.write(15);
    }
    const auto opened = r.group->open_point(interval_id{3});
    REQUIRE(opened.has_value());
    r.write(20); // after the point was opened
    for (std::uint16_t v = 0; v < 2; ++v) {
        block_device &device = *opened->devices[v];
        const byte_vector &image = r.model.at(interval_id{3})[v];
        CHECK(device.size() == image.size());
        CHECK(device.read_only());
        for (std::uint64_t offset = 0; offset < image.size(); offset += 1777) {
            byte_vector bytes(std::min<std::uint64_t>(offset % 9000 + 1, image.size() - offset));
            REQUIRE(device.read(offset, bytes).has_value());
            CHECK(std::ranges::equal(bytes, bytes_view(image).subspan(offset, bytes.size())));
        }
        CHECK(is_errno(device.write(0, byte_vector(1), false).error(), EROFS));
        CHECK(is_errno(device.trim({0, 1}, false).error(), EROFS));
        CHECK(is_errno(device.write_zeroes({0, 1}, {}).error(), EROFS));
        const auto status = device.status({0, image.size()}, status_context::allocation, 1000);
        REQUIRE(status.has_value());
        std::uint64_t at = 0;
        for (const status_extent &e : *status) {
            CHECK((e.flags == 0 || is_zero(bytes_view(image).subspan(at, e.length))));
            at += e.length;
        }
        CHECK(at == image.size());
        CHECK(device.status({0, image.size()}, status_context::allocation, 1)->size() == 1);
    }
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
