// The undo log: what is written is read, also after reopening; torn tails and damage are told
// apart.

#include "replicator/base/geometry.hpp"
#include "replicator/log/undo_log.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

byte_vector content(std::uint64_t seed, std::size_t blocks = 1) {
    byte_vector bytes(blocks * block_bytes);
    for (std::byte &b : bytes) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        b = static_cast<std::byte>(seed >> 56);
    }
    return bytes;
}

stream_position position(std::uint64_t id) { return {stream_id{1}, interval_id{id}}; }

struct rig {
    sim_file_system files{1};
    std::uint64_t segment_bytes = 64 * 1024;
    interval_id committed;
    segment_place committed_end;
    std::unique_ptr<undo_log> log = open();

    std::unique_ptr<undo_log> open() {
        undo_log_options o;
        o.directory = "/undo";
        o.segment_bytes = segment_bytes;
        auto opened = undo_log::open(files, std::move(o), committed, committed_end);
        REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
        return std::move(*opened);
    }
    void add(std::uint64_t id, std::size_t blocks = 3) {
        log->begin(position(id));
        REQUIRE(
            log->add_raw(volume_index{1}, block_index{id * 10}, content(id, blocks)).has_value());
        REQUIRE(log->add_zero(volume_index{0}, block_index{id}, 5).has_value());
        REQUIRE(log->end({true, true, wall_time(std::chrono::seconds(id)),
                          wall_time(std::chrono::seconds(id)), 0, 0})
                    .has_value());
    }
    void finish() {
        REQUIRE(log->sync().has_value());
        log->publish();
    }
    void commit(std::uint64_t id) {
        committed = interval_id{id};
        committed_end = log->end_place();
    }
    std::vector<std::uint64_t> ids() const {
        std::vector<std::uint64_t> all;
        log->each([&](const undo_record &r) { all.push_back(r.header.position.interval.value); });
        return all;
    }
};

TEST_SUITE_BEGIN("log");

TEST_CASE("undo log: what is packed goes, all of it, also when nothing newer is there") {
    rig r;
    for (std::uint64_t id = 1; id <= 12; ++id) {
        r.add(id);
        r.finish();
    }
    const std::uint64_t last = r.log->end_place().segment;
    CHECK(last > 1);
    REQUIRE(r.log->end_segment().has_value());
    CHECK(r.log->end_place().segment == last + 1);
    r.commit(12);
    REQUIRE(r.log->drop_packed(last).has_value());
    CHECK(r.ids().empty());
    REQUIRE(r.log->segments().size() == 1);
    CHECK(r.log->segments().front().number == last + 1);
    r.add(13);
    r.finish();
    r.log.reset();
    r.log = r.open();
    CHECK(r.ids() == std::vector<std::uint64_t>{13});
}

TEST_CASE("undo log: entries and contents come back, also after reopening") {
    rig r;
    r.add(1);
    r.add(2);
    CHECK(r.ids().empty()); // not published
    r.finish();
    for (int round = 0; round < 2; ++round) {
        REQUIRE(r.ids() == std::vector<std::uint64_t>{1, 2});
        const undo_record second = r.log->records_after(interval_id{1}).at(0);
        CHECK(second.header.point);
        CHECK(second.header.last);
        const byte_vector expected = content(2, 3);
        std::size_t raw = 0;
        std::uint64_t zeroed = 0;
        const auto visited =
            r.log->visit(second, [&](const undo_entry &e, bytes_view bytes) -> result<> {
                if (e.kind == undo_kind::zero) {
                    zeroed += e.count;
                    return {};
                }
                CHECK(e.block.value == 20 + raw);
                CHECK(std::ranges::equal(
                    bytes, bytes_view(expected).subspan(raw * block_bytes, block_bytes)));
                ++raw;
                return {};
            });
        CHECK(visited.has_value());
        CHECK(raw == 3);
        CHECK(zeroed == 5);
        r.log.reset();
        r.log = r.open();
    }
}

TEST_CASE(
    "undo log: a large interval becomes several records, the last one says what became of it") {
    rig r;
    r.segment_bytes = 16 * 1024;
    r.log.reset();
    r.log = r.open();
    r.add(1, 20);
    r.add(2, 0);
    r.finish();
    const auto records = r.log->records_after(interval_id{0});
    REQUIRE(records.size() == 7);
    for (std::size_t i = 0; i < 6; ++i) {
        CHECK(records[i].header.part == i);
        CHECK(records[i].header.last == (i == 5));
    }
    CHECK(records[6].header.part == 0);
}

TEST_CASE("undo log: it says whether the interval has anything, record open or ended") {
    rig r;
    r.log->begin(position(1));
    CHECK_FALSE(r.log->begun());
    const segment_place place = r.log->position();
    REQUIRE(r.log->add_zero(volume_index{0}, block_index{3}, 1).has_value());
    CHECK(r.log->begun());
    REQUIRE(r.log->end_part().has_value());
    r.log->begin(position(1));
    CHECK(r.log->begun());
    REQUIRE(r.log->back_to(place).has_value());
    r.log->begin(position(1));
    CHECK_FALSE(r.log->begun());
    REQUIRE(r.log->add_zero(volume_index{0}, block_index{3}, 1).has_value());
    REQUIRE(r.log->end({}).has_value());
    r.log->begin(position(2));
    CHECK_FALSE(r.log->begun());
}

TEST_CASE("undo log: going back forgets what was not published, across segments") {
    rig r;
    r.segment_bytes = 16 * 1024;
    r.log.reset();
    r.log = r.open();
    r.add(1);
    r.finish();
    const segment_place place = r.log->position();
    r.log->begin(position(2));
    REQUIRE(r.log->add_raw(volume_index{0}, block_index{0}, content(9, 30)).has_value());
    REQUIRE(r.log->back_to(place).has_value());
    CHECK(r.log->position() == place);
    CHECK(r.log->fresh().empty());
    r.add(2);
    r.finish();
    r.log.reset();
    r.log = r.open();
    CHECK(r.ids() == std::vector<std::uint64_t>{1, 2});
    CHECK_FALSE(r.log->evidence().tail_broken);
}

TEST_CASE("undo log: dropping gives whole old segments back and keeps the rest") {
    rig r;
    for (std::uint64_t id = 1; id <= 40; ++id) {
        r.add(id);
        r.finish();
    }
    const std::uint64_t before = r.log->used_bytes();
    REQUIRE(r.log->drop_before(interval_id{30}, 1000).has_value());
    CHECK(r.log->used_bytes() < before / 2);
    CHECK(r.ids().front() <= 30);
    CHECK(r.ids().front() > 10);
    CHECK(r.ids().back() == 40);
    CHECK(r.log->records_after(interval_id{30}).size() == 10);
}

TEST_CASE("undo log: no room stops the interval, after going back it can be tried again") {
    sim_file_system files(1);
    std::uint64_t left = 20'000;
    undo_log_options o;
    o.directory = "/undo";
    o.room = [&](std::uint64_t bytes) {
        return bytes <= left ? result<>() : fail(errc::full, "full");
    };
    auto log = std::move(*undo_log::open(files, std::move(o), {}, {}));
    log->begin(position(1));
    const auto refused = log->add_raw(volume_index{0}, block_index{0}, content(1, 8));
    REQUIRE_FALSE(refused.has_value());
    CHECK(is(refused.error(), errc::full));
    REQUIRE(log->back_to({}).has_value());
    left = 1 << 20;
    log->begin(position(1));
    CHECK(log->add_raw(volume_index{0}, block_index{0}, content(1, 8)).has_value());
    CHECK(log->end({}).has_value());
    CHECK(log->fresh().size() == 1);
}

TEST_CASE("undo log: a record cut off at the end is torn and forgotten") {
    rig r;
    r.add(1);
    r.finish();
    r.commit(1);
    r.add(2);
    r.finish();
    const std::uint64_t size = *(*r.files.open("/undo/0000000001.seg", open_mode::read))->size();
    for (const std::uint64_t less : {std::uint64_t{1}, std::uint64_t{50}, std::uint64_t{5000}}) {
        sim_file_system copy(r.files);
        REQUIRE((*copy.open("/undo/0000000001.seg", open_mode::read_write))
                    ->truncate(size - less)
                    .has_value());
        undo_log_options o;
        o.directory = "/undo";
        const auto log = undo_log::open(copy, std::move(o), r.committed, r.committed_end);
        REQUIRE(log.has_value());
        CHECK((*log)->evidence().tail_torn);
        CHECK_FALSE((*log)->evidence().tail_broken);
        CHECK((*log)->records_after(interval_id{1}).empty());
        CHECK((*log)->records_after(interval_id{0}).size() == 1);
    }
}

TEST_CASE(
    "undo log: a flipped byte before the commit loses older records, never serves wrong ones") {
    rig r;
    for (std::uint64_t id = 1; id <= 30; ++id) {
        r.add(id);
        r.finish();
    }
    r.commit(25);
    r.log.reset();
    for (const std::string &name : *r.files.list("/undo")) {
        const std::string path = "/undo/" + name;
        const std::uint64_t size = *(*r.files.open(path, open_mode::read))->size();
        for (std::uint64_t offset = 0; offset < size; offset += 509) {
            CAPTURE(name);
            CAPTURE(offset);
            sim_file_system copy(r.files);
            copy.corrupt(path, offset);
            undo_log_options o;
            o.directory = "/undo";
            const auto log = undo_log::open(copy, std::move(o), interval_id{30}, r.committed_end);
            REQUIRE(log.has_value());
            std::uint64_t before = 0;
            bool noticed = (*log)->evidence().history_broken || (*log)->evidence().tail_torn ||
                           (*log)->evidence().tail_broken;
            (*log)->each([&](const undo_record &record) {
                const std::uint64_t id = record.header.position.interval.value;
                CHECK((before == 0 || id == before + 1));
                noticed |= before == 0 && id != 1;
                before = id;
                const byte_vector expected = content(id, 3);
                std::size_t raw = 0;
                const auto visited =
                    (*log)->visit(record, [&](const undo_entry &e, bytes_view bytes) -> result<> {
                        if (e.kind == undo_kind::raw) {
                            CHECK(std::ranges::equal(bytes, bytes_view(expected).subspan(
                                                                raw++ * block_bytes, block_bytes)));
                        }
                        return {};
                    });
                noticed |= !visited;
            });
            CHECK((noticed || before != 30));
        }
    }
}

TEST_CASE("undo log: damage behind the commit in a closed or synced place is called damage") {
    rig r;
    r.add(1);
    r.finish();
    r.commit(1);
    const std::uint64_t content_at = r.committed_end.offset + undo_header_bytes + 100;
    r.add(2);
    r.finish();
    r.add(3); // says that 2 was durable
    r.finish();
    r.log.reset();
    r.files.corrupt("/undo/0000000001.seg", content_at);
    r.log = r.open();
    CHECK(r.log->evidence().tail_broken);

    rig closed;
    closed.segment_bytes = 16 * 1024;
    closed.log.reset();
    closed.log = closed.open();
    closed.add(1);
    closed.finish();
    closed.commit(1);
    for (std::uint64_t id = 2; id < 8; ++id) {
        closed.add(id);
        closed.finish();
    }
    closed.log.reset();
    const std::string first = closed.files.list("/undo")->front();
    closed.files.corrupt("/undo/" + first, closed.committed_end.offset + 200);
    closed.log = closed.open();
    CHECK(closed.log->evidence().tail_broken);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
