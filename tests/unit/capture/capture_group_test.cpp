#include "tests/unit/capture/synced_rig.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::test;

namespace {

constexpr std::uint64_t odd_size = 5 * region_bytes + 3 * block_bytes + 512;

std::vector<block_change> changes_of(capture_rig &rig) {
    REQUIRE(rig.close(false));
    return rig.line.back().closed->changes();
}

} // namespace

TEST_SUITE_BEGIN("capture_group");

TEST_CASE("capture: a fresh volume is all dirty and clean after one catch-up") {
    capture_rig rig = synced_rig({odd_size, 2U << 20});
    rig.note(rig.open());
    CHECK(rig.group->start().fresh);
    CHECK(rig.group->mode() == capture_mode::tracking);
    CHECK(rig.group->dirty_bytes(volume_index{0}) == odd_size);
    CHECK(rig.group->dirty_bytes(volume_index{1}) == 2U << 20);
    rig.begin_recording();
    CHECK(rig.group->pending_bytes() == odd_size + (2U << 20));
    CHECK(rig.close(true));
    CHECK(!rig.line.back().closed->commit().consistent);
    rig.catch_up();
    CHECK(rig.dirty_bytes() == 0);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a catch-up does not read holes") {
    capture_rig rig = synced_rig({8U << 20});
    {
        auto files = rig.disk.process();
        auto volume = files->open(rig.options.volumes[0].path, open_mode::read_write);
        REQUIRE(volume);
        REQUIRE((*volume)->zero({0, 8U << 20}, false, false));
        REQUIRE((*volume)->write_at(3U << 20, rig.content(block_bytes)));
    }
    std::uint64_t reads = 0;
    rig.note(rig.open());
    rig.disk.before_call([&](const sim_call &call) {
        reads +=
            call.what == sim_operation::read && call.path == rig.options.volumes[0].path ? 1 : 0;
    });
    rig.begin_recording();
    rig.catch_up();
    rig.disk.before_call({});
    CHECK(reads > 0);
    CHECK(reads <= 8); // of the one piece with data, on the way down to its block
}

TEST_CASE("capture: writes to one block fold to the last, with the content before the first") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    const byte_vector a = rig.content(block_bytes);
    const byte_vector b = rig.content(block_bytes);
    const byte_vector c = rig.content(block_bytes);
    rig.note(rig.write(0, block_bytes, a));
    changes_of(rig);
    rig.note(rig.write(0, block_bytes, b));
    rig.note(rig.write(0, block_bytes, c));
    const auto changes = changes_of(rig);
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].block.value == 1);
    CHECK(std::ranges::equal(changes[0].content, c));
    CHECK(std::ranges::equal(changes[0].before, a));
    CHECK(rig.line.back().closed->written_bytes() == 2 * block_bytes);
    CHECK(rig.line.back().closed->commit().written_bytes == 2 * block_bytes);
    CHECK(rig.line.back().closed->data_blocks() == 1);
}

TEST_CASE("capture: a write of part of a block records the whole block") {
    capture_rig rig = synced_rig({odd_size});
    start(rig);
    rig.note(rig.write(0, 0, rig.content(3 * block_bytes)));
    rig.close(false);
    rig.deliver();
    const byte_vector data = rig.content(block_bytes);
    CHECK(rig.try_write(0, block_bytes + 100, data).value());
    const auto changes = changes_of(rig);
    REQUIRE(changes.size() == 2);
    CHECK(std::ranges::equal(changes[0].content,
                             bytes_view(rig.live[0]).subspan(block_bytes, block_bytes)));
    CHECK(std::ranges::equal(changes[1].before,
                             bytes_view(rig.durable[0]).subspan(2 * block_bytes, block_bytes)));
    rig.deliver();
    CHECK(rig.durable == rig.live);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: the short last block of a volume is padded with zeroes") {
    capture_rig rig = synced_rig({odd_size});
    start(rig);
    CHECK(rig.try_write(0, odd_size - 512, rig.content(512)).value()); // covers all of it
    const auto changes = changes_of(rig);
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].block.value == block_count(odd_size) - 1);
    CHECK(changes[0].content.size() == block_bytes);
    CHECK(is_zero(changes[0].content.subspan(512)));
    rig.deliver();
    CHECK(rig.durable == rig.live);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: try_write refuses when old content must be read from the disk") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    rig.disk.set_cached_percent(0);
    CHECK(!rig.try_write(0, 100, rig.content(100)).value());
    CHECK(rig.try_write(0, 0, rig.content(block_bytes)).value()); // a whole block needs none
    const auto changes = changes_of(rig);
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].before.empty());
    rig.note(rig.write(0, 100, rig.content(100)));
    rig.close(false);
    while (rig.deliver()) {
    }
    CHECK(rig.durable == rig.live);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a trim of a hole is answered at once and changes nothing") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    const byte_range whole{0, 1U << 20};
    rig.note(rig.zero(0, whole, true));
    rig.close(false);
    while (rig.deliver()) {
    }
    CHECK(rig.device(0).try_zero(whole, {}).value());
    CHECK(rig.device(0).try_zero({10, 5000}, {.only_if_fast = true}).value());
    CHECK_FALSE(rig.close(false)); // nothing to cut
    CHECK(rig.dirty_bytes() == 0);
    // What promises more than zeroes is done in full.
    CHECK_FALSE(rig.device(0).try_zero(whole, {.fua = true}).value());
    CHECK_FALSE(rig.device(0).try_zero(whole, {.keep_allocated = true}).value());
    // And where there is data, the next byte of it included.
    rig.note(rig.write(0, region_bytes, rig.content(block_bytes)));
    CHECK_FALSE(rig.device(0).try_zero(whole, {}).value());
    CHECK_FALSE(rig.device(0).try_zero({region_bytes - 1, 2}, {}).value());
    CHECK(rig.device(0).try_zero({0, region_bytes}, {}).value());
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: a hole that another request is just making is not taken for one") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    int asked = 0;
    rig.disk.before_call([&](const sim_call &call) {
        if (call.what == sim_operation::zero) {
            ++asked; // before it is recorded, and a barrier may come in between
            CHECK_FALSE(rig.device(0).try_zero({0, block_bytes}, {}).value());
            CHECK(rig.device(0).try_zero({region_bytes, block_bytes}, {}).value());
        }
    });
    rig.note(rig.zero(0, {0, block_bytes}, true));
    rig.disk.before_call({});
    CHECK(asked == 1);
    CHECK(rig.device(0).try_zero({0, block_bytes}, {}).value());
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: trims become zero ranges, and data at their ragged ends") {
    capture_rig rig = synced_rig({odd_size});
    start(rig);
    rig.note(rig.write(0, 0, rig.content(odd_size)));
    rig.close(false);
    rig.deliver();
    rig.note(rig.zero(0, {block_bytes + 10, odd_size - block_bytes - 10}, true));
    rig.note(rig.write(0, 2 * region_bytes, rig.content(block_bytes)));
    const auto changes = changes_of(rig);
    REQUIRE(changes.size() == 4);
    CHECK(changes[0].kind == change_kind::data);
    CHECK(changes[1].kind == change_kind::zero);
    CHECK(changes[1].block.value == 2);
    CHECK(changes[1].count == 30);
    CHECK(changes[2].kind == change_kind::data);
    CHECK(changes[2].before.empty()); // what was there at the last barrier is not known any more
    CHECK(changes[3].count == block_count(odd_size) - 33);
    rig.deliver();
    CHECK(rig.durable == rig.live);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: writes in tracking and to pending regions are marked and not recorded") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    rig.group->begin_tracking();
    rig.note(rig.write(0, 0, rig.content(block_bytes)));
    CHECK(rig.group->close_interval({}, true, false) == nullptr);
    CHECK(rig.dirty_bytes() == region_bytes);
    rig.begin_recording();
    rig.note(rig.write(0, block_bytes, rig.content(block_bytes)));          // pending
    rig.note(rig.write(0, 3 * region_bytes, rig.content(2 * block_bytes))); // not
    CHECK(changes_of(rig).size() == 2);
    CHECK(rig.group->pending_bytes() == region_bytes);
    rig.catch_up();
    CHECK(rig.durable == rig.live);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: it vouches for what nobody touched since, and for nothing else") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    rig.disk.set_cached_percent(100);
    buffer page(block_bytes);
    const auto vouches = [&](std::uint64_t block, stream_position since) {
        return rig.group->read_unchanged({}, block_index{block}, since, page.span());
    };
    rig.note(rig.write(0, 0, rig.content(block_bytes)));
    rig.close(false);
    const stream_position first = rig.line.back().closed->position();
    CHECK(vouches(1, first));
    CHECK(
        std::ranges::equal(page.view(), bytes_view(rig.live[0]).subspan(block_bytes, block_bytes)));
    rig.note(rig.write(0, 2 * block_bytes, rig.content(block_bytes))); // in the open interval
    CHECK_FALSE(vouches(2, first));
    rig.close(false);
    CHECK_FALSE(vouches(2, first)); // closed, and newer all the same
    CHECK(vouches(0, rig.line.back().closed->position()));
    CHECK_FALSE(vouches(256, first));                                             // beyond the end
    CHECK_FALSE(vouches(1, {stream_id{first.stream.value + 1}, first.interval})); // another stream
    bool during = true;
    rig.disk.before_call([&](const sim_call &call) {
        if (call.what == sim_operation::write && call.path == "disks/v0") {
            during = vouches(9, first);
        }
    });
    rig.note(rig.write(0, 9 * block_bytes, rig.content(block_bytes)));
    rig.disk.before_call({});
    CHECK_FALSE(during);
    rig.disk.set_cached_percent(0);
    CHECK_FALSE(vouches(1, first)); // not cached
    CHECK(rig.group->read_unchanged({}, block_index{1}, first, page.span(), cold_reads::wait));
    CHECK(
        std::ranges::equal(page.view(), bytes_view(rig.live[0]).subspan(block_bytes, block_bytes)));
    CHECK_FALSE(
        rig.group->read_unchanged({}, block_index{2}, first, page.span(), cold_reads::wait));
    rig.disk.set_cached_percent(100);
    rig.group->begin_tracking();
    CHECK_FALSE(vouches(1, first));
    rig.note(rig.write(0, 3 * region_bytes, rig.content(block_bytes)));
    rig.begin_recording();
    rig.note(rig.write(0, region_bytes, rig.content(block_bytes)));
    rig.close(false);
    const stream_position later = rig.line.back().closed->position();
    CHECK_FALSE(vouches(3 * 16 + 1, later)); // still to be compared
    CHECK(vouches(5 * 16, later));
}

TEST_CASE("capture: a region that is being written stays dirty though its interval is durable") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    bool dirty_during = false;
    bool done = false;
    rig.disk.before_call([&](const sim_call &call) {
        if (call.what == sim_operation::write && call.path == "disks/v0" && !done) {
            done = true;
            rig.close(false);
            auto closed = std::move(rig.line.back().closed);
            rig.line.pop_back();
            CHECK(closed->settled()); // its content was copied before the file is written
            apply_changes(*closed, rig.durable);
            rig.group->durable(closed->position(), {});
            dirty_during = rig.dirty(0, 1);
        }
    });
    rig.note(rig.write(0, region_bytes, rig.content(block_bytes)));
    rig.disk.before_call({});
    CHECK(dirty_during);
    rig.note(rig.group->maintain());
    CHECK(rig.dirty_bytes() == 0); // and it does get clean afterwards
    CHECK(rig.durable == rig.live);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: the interval of a write that failed does not make its region clean") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    rig.disk.inject({sim_scope::writes, "disks/v0"});
    bool done = false;
    rig.disk.before_call([&](const sim_call &call) {
        if (call.what == sim_operation::write && call.path == "disks/v0" && !done) {
            done = true;
            auto closed = rig.group->close_interval({}, false, false);
            apply_changes(*closed, rig.durable);
            rig.group->durable(closed->position(), {});
        }
    });
    CHECK(!rig.device(0).write(region_bytes, rig.content(block_bytes), false));
    rig.disk.before_call({});
    rig.note(rig.group->maintain());
    CHECK(rig.dirty_bytes() == region_bytes);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: attention is asked once when the open interval is large") {
    capture_rig rig = synced_rig({4U << 20});
    start(rig);
    rig.options.memory.interval_bytes = 1U << 20;
    for (int i = 0; i < 6; ++i) {
        rig.note(rig.write(0, static_cast<std::uint64_t>(i) * 262144, rig.content(262144)));
        CHECK(rig.attentions == (i < 3 ? 0 : 1));
    }
    rig.close(false);
    rig.note(rig.write(0, 0, rig.content(1U << 20)));
    CHECK(rig.attentions == 2);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: an overflow falls to tracking, asks for attention and loses nothing") {
    capture_rig rig = synced_rig({8U << 20});
    rig.options.memory.bytes_max = 4U << 20;
    rig.options.memory.interval_bytes = 64U << 20;
    rig.note(rig.open());
    rig.begin_recording();
    while (rig.scan_step(1U << 20)) {
        rig.close(false);
    }
    rig.close(true);
    while (rig.deliver()) {
    }
    REQUIRE(rig.dirty_bytes() == 0);
    for (std::uint64_t at = 0; at < 8U << 20; at += 1U << 20) {
        rig.note(rig.write(0, at, rig.content(1U << 20)));
        CHECK(rig.group->counts().open_bytes <= rig.options.memory.bytes_max);
    }
    CHECK(rig.group->mode() == capture_mode::tracking);
    CHECK(!rig.group->fallback_reason().empty());
    CHECK(rig.attentions == 1);
    rig.check_dirty();
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: acknowledgements of another stream change nothing") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    rig.note(rig.write(0, 0, rig.content(block_bytes)));
    rig.close(false);
    rig.group->durable({stream_id{1}, rig.last_id}, {});
    CHECK(rig.dirty_bytes() == region_bytes);
    rig.deliver();
    CHECK(rig.dirty_bytes() == 0);
    CHECK(rig.problems.empty());
}

TEST_CASE(
    "capture: a region that is written again stays dirty until the later interval is durable") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    rig.note(rig.write(0, 0, rig.content(block_bytes)));
    rig.close(false);
    rig.note(rig.write(0, block_bytes, rig.content(block_bytes)));
    rig.deliver();
    CHECK(rig.dirty_bytes() == region_bytes);
    rig.close(false);
    rig.deliver();
    CHECK(rig.dirty_bytes() == 0);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: verify entries are of the barrier's content, and dropped when it changes") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    rig.note(rig.group->add_verify({volume_index{0}, {0, region_bytes}}, test_digest));
    rig.note(
        rig.group->add_verify({volume_index{0}, {4 * region_bytes, region_bytes}}, test_digest));
    rig.note(rig.write(0, 100, rig.content(10)));
    rig.close(false);
    const auto &verify = rig.line.back().closed->commit().verify;
    REQUIRE(verify.size() == 1);
    CHECK(verify[0].range == byte_range{4 * region_bytes, region_bytes});
    rig.note(rig.write(0, 4 * region_bytes, rig.content(10))); // after the barrier: stays
    CHECK(rig.line.back().closed->commit().verify.size() == 1);
    rig.group->mark_dirty(volume_index{0}, {0, 1});
    rig.begin_recording();
    const auto pending = rig.group->add_verify({volume_index{0}, {0, region_bytes}}, test_digest);
    CHECK(is(pending.error(), errc::not_in_sync));
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: the scan asks for a finer look, and records against zeroes at once") {
    capture_rig rig = synced_rig({2U << 20});
    start(rig);
    rig.group->begin_tracking();
    rig.note(rig.write(0, 5 * region_bytes, rig.content(block_bytes)));
    rig.group->mark_dirty({}, {0, 1U << 20});
    rig.begin_recording();
    const auto piece = rig.group->next_pending({}, 0, 1U << 20);
    REQUIRE(piece);
    CHECK(piece->range == byte_range{0, 1U << 20});
    const auto coarse = rig.group->resolve(*piece, 1U << 20, {digest16{std::byte{9}}}, test_digest);
    REQUIRE(coarse);
    CHECK(coarse->differing_units == std::vector<std::uint32_t>{0});
    CHECK(coarse->recorded_blocks == 0);
    CHECK(rig.group->pending_bytes() == 1U << 20);
    std::vector<digest16> peer(16);
    const auto fine = rig.group->resolve(*piece, region_bytes, peer, test_digest);
    REQUIRE(fine);
    CHECK(fine->differing_units.empty());
    CHECK(fine->recorded_blocks == 1);
    CHECK(rig.group->pending_bytes() == 0);
    const auto again = rig.group->resolve(*piece, region_bytes, peer, test_digest);
    CHECK(again->recorded_blocks == 0); // nothing pending there any more
    const auto wrong = rig.group->resolve(*piece, region_bytes, {peer[0]}, test_digest);
    CHECK(is(wrong.error(), errc::invalid));
    rig.group->begin_tracking();
    const auto late = rig.group->resolve(*piece, region_bytes, peer, test_digest);
    CHECK(is(late.error(), errc::not_in_sync));
    CHECK(rig.problems.empty());
}

TEST_CASE(
    "capture: next_pending goes over volumes in pieces that don't cross a multiple of their size") {
    capture_rig rig = synced_rig({odd_size, 3U << 20});
    rig.note(rig.open());
    rig.begin_recording();
    const auto first = rig.group->next_pending({}, 0, 4 * region_bytes);
    CHECK(first->range == byte_range{0, 4 * region_bytes});
    const auto second = rig.group->next_pending({}, first->range.end(), 4 * region_bytes);
    CHECK(second->range == byte_range{4 * region_bytes, odd_size - 4 * region_bytes});
    const auto third = rig.group->next_pending({}, second->range.end(), 1U << 20);
    CHECK(third->volume == volume_index{1});
    CHECK(third->range == byte_range{0, 1U << 20});
    CHECK(!rig.group->next_pending(volume_index{1}, 3U << 20, 1U << 20));
}

TEST_CASE("capture: writers that are dropped with their interval do not hurt") {
    capture_rig rig = synced_rig({1U << 20});
    start(rig);
    bool done = false;
    rig.disk.before_call([&](const sim_call &call) {
        if (call.what == sim_operation::read_cached && !done) {
            done = true; // between reservation and copy
            rig.group->begin_tracking();
            rig.note(rig.group->maintain());
        }
    });
    rig.note(rig.write(0, 0, rig.content(8 * block_bytes)));
    CHECK(done);
    rig.disk.before_call({});
    CHECK(rig.dirty_bytes() == region_bytes);
    rig.catch_up();
    CHECK(rig.durable == rig.live);
    CHECK(rig.problems.empty());
}

TEST_CASE("capture: status reports dirty regions and holes, merged and bounded") {
    capture_rig rig = synced_rig({2U << 20});
    start(rig);
    rig.note(rig.write(0, region_bytes, rig.content(2 * region_bytes)));
    const auto dirty = rig.device(0).status({0, 2U << 20}, status_context::dirty, 8);
    REQUIRE(dirty->size() == 3);
    CHECK((*dirty)[1].length == 2 * region_bytes);
    CHECK((*dirty)[1].flags == 1);
    CHECK(rig.device(0).status({0, 2U << 20}, status_context::dirty, 1)->size() == 1);
    const auto holes = rig.device(0).status({100, 1U << 20}, status_context::allocation, 8);
    REQUIRE(holes->size() == 3);
    CHECK((*holes)[0].flags == 3);
    CHECK((*holes)[1].flags == 0);
    CHECK((*holes)[0].length + (*holes)[1].length + (*holes)[2].length == 1U << 20);
}

TEST_SUITE_END();
