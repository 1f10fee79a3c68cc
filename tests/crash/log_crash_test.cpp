// The interval log stopped after every mutating call, then killed or cut from power: what sync()
// promised is there, what is there is right, and the log goes on.

#include "replicator/base/geometry.hpp"
#include "replicator/log/interval_log.hpp"
#include "replicator/log/segment_store.hpp"
#include "replicator/log/undo_log.hpp"
#include "tests/support/intervals.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

const interval_log_options options{"/log", 8 * 1024, 0};

struct promise {
    std::uint64_t durable = 0;  ///< last id of a successful sync
    std::uint64_t appended = 0; ///< last id whose barrier was given to append
    std::uint64_t dropped = 0;  ///< last id of a drop that was begun
};

result<> add(interval_log &log, std::uint64_t id) {
    for (const buffer &frame : test::plain_interval(id, id % 3, 700 + 100 * (id % 5))) {
        FS_CHECK(log.append(frame.view()));
    }
    return {};
}

result<> scenario(file_system &files, promise &p) {
    FS_TRY(log, interval_log::open(files, options));
    for (std::uint64_t id = p.appended + 1; id <= 24; ++id) {
        p.appended = id;
        FS_CHECK(add(*log, id));
        if (id % 3 == 0) {
            FS_CHECK(log->sync());
            p.durable = id;
        }
        if (id % 7 == 0) {
            p.dropped = std::max(p.durable, std::uint64_t{2}) - 2;
            FS_CHECK(log->drop_through(interval_id{p.dropped}));
        }
        if (id == 10) {
            FS_CHECK(log->append(test::plain_interval(11, 2, 100)[0].view()));
            FS_CHECK(log->abandon_partial());
        }
    }
    return {};
}

void check(sim_file_system &files, const promise &p) {
    auto log = interval_log::open(files, options);
    REQUIRE_MESSAGE(log.has_value(), (log ? "" : log.error().text()));
    const auto entries = (*log)->entries_after({}, SIZE_MAX);
    const std::uint64_t last = entries.empty() ? 0 : entries.back().position.interval.value;
    CHECK((last >= p.durable || p.durable == p.dropped));
    CHECK(last <= p.appended);
    if (!entries.empty()) {
        CHECK(entries.front().position.interval.value <= p.dropped + 1);
        CHECK(last - entries.front().position.interval.value + 1 == entries.size());
    }
    for (const interval_entry &e : entries) {
        const std::uint64_t id = e.position.interval.value;
        const auto frames = (*log)->read(e.position.interval);
        REQUIRE(frames.has_value());
        const auto expected = test::plain_interval(id, id % 3, 700 + 100 * (id % 5));
        CHECK(std::ranges::equal(*frames, expected, [](const buffer &a, const buffer &b) {
            return std::ranges::equal(a.view(), b.view());
        }));
    }
    // What open() calls durable is: nothing is lost by a second cut (dropped ones may come back).
    log->reset();
    files.power_cut(0);
    auto again = interval_log::open(files, options);
    REQUIRE(again.has_value());
    const auto after = (*again)->entries_after({}, SIZE_MAX);
    CHECK(after.size() >= entries.size());
    CHECK((after.empty() ? 0 : after.back().position.interval.value) == last);
    CHECK(add(**again, p.appended + 1).has_value());
    CHECK((*again)->sync().has_value());
}

TEST_SUITE_BEGIN("crash");

TEST_CASE("interval log: stopped after each call and cut, it holds what it promised") {
    sim_file_system whole(7);
    promise all;
    REQUIRE(scenario(whole, all).has_value());
    const std::uint64_t calls = whole.mutating_calls();
    REQUIRE(calls > 50);
    for (std::uint64_t stop = 0; stop <= calls; ++stop) {
        sim_file_system files(7);
        promise p;
        files.stop_after(stop);
        const auto process = files.process();
        static_cast<void>(scenario(*process, p).has_value());
        for (std::uint64_t seed = 0; seed < 8; ++seed) {
            CAPTURE(stop);
            CAPTURE(seed);
            sim_file_system copy(files);
            if (seed == 7) {
                copy.kill();
            } else {
                copy.power_cut(seed);
            }
            check(copy, p);
        }
    }
}

TEST_CASE("interval log: any one call may fail, nothing promised is lost") {
    sim_file_system whole(7);
    promise all;
    REQUIRE(scenario(whole, all).has_value());
    const std::uint64_t calls = whole.calls();
    for (std::uint64_t nth = 1; nth <= calls; ++nth) {
        for (const int number : {EIO, ENOSPC}) {
            CAPTURE(nth);
            CAPTURE(number);
            sim_file_system files(nth);
            promise p;
            files.inject(
                {.scope = sim_scope::every, .path_prefix = "", .nth = nth, .number = number});
            const auto process = files.process();
            static_cast<void>(scenario(*process, p).has_value());
            files.clear_faults();
            sim_file_system copy(files);
            copy.power_cut(nth);
            check(copy, p);
        }
    }
}

TEST_CASE(
    "undo log: cut back over several segments, it keeps what stood before at any cut of power") {
    undo_log_options small;
    small.directory = "/undo";
    small.segment_bytes = 16 * 1024;
    sim_file_system made(1);
    const byte_vector old(4 * block_bytes, std::byte{7});
    const interval_id kept{2};
    segment_place end;
    {
        const auto log = std::move(*undo_log::open(made, small, {}, {}));
        for (std::uint64_t id = 1; id <= 12; ++id) {
            log->begin({stream_id{1}, interval_id{id}});
            REQUIRE(log->add_raw(volume_index{0}, block_index{id}, old).has_value());
            REQUIRE(log->end({}).has_value());
            REQUIRE(log->sync().has_value());
            log->publish();
            end = id == kept.value ? log->end_place() : end;
        }
        REQUIRE(log->end_place().segment > end.segment + 3);
    }
    bool whole = false;
    for (std::uint64_t stop = 0; !whole; ++stop) {
        sim_file_system files(made);
        files.stop_after(stop);
        const auto process = files.process();
        const auto log = undo_log::open(*process, small, kept, end);
        whole = log && (*log)->cut_after(kept, end);
        for (std::uint64_t seed = 0; seed < 40; ++seed) {
            CAPTURE(stop);
            CAPTURE(seed);
            sim_file_system copy(files);
            copy.power_cut(seed);
            const auto again = undo_log::open(copy, small, kept, end);
            REQUIRE(again.has_value());
            CHECK_FALSE((*again)->evidence().history_broken);
            CHECK_FALSE((*again)->evidence().tail_broken);
            CHECK((*again)->records_after({}).size() >= 2);
            CHECK((!whole || (*again)->records_after(kept).empty()));
        }
    }
}

// Removals from the front are not synced: what comes back joins on to the rest, whole, or is
// removed by open(); and it never becomes the end of the log.
TEST_CASE("segment store: segments that come back after a removal from the front do no harm") {
    constexpr std::uint64_t made = 8;
    std::uint64_t kept = 0;
    SUBCASE("several stay") { kept = 6; }
    SUBCASE("one stays") { kept = made; }
    const segment_store::options small{"/log", segment_kind::undo, 512};
    const auto mark = [](std::uint64_t number) { return byte_vector(1024, std::byte(number)); };
    sim_file_system before(3);
    {
        const auto store = std::move(*segment_store::open(before, small));
        for (std::uint64_t number = 1; number <= made; ++number) {
            const auto place = store->begin();
            REQUIRE((place && place->segment == number));
            REQUIRE(store->write(place->offset, mark(number)).has_value());
            store->keep(place->offset + 1024);
            REQUIRE(store->sync().has_value());
        }
    }
    bool whole = false;
    std::size_t came_back = 0;
    for (std::uint64_t stop = 0; !whole; ++stop) {
        sim_file_system files(before);
        files.stop_after(stop);
        const auto process = files.process();
        const auto store = segment_store::open(*process, small);
        whole = store && (*store)->remove_before(3) && (*store)->remove_before(kept) &&
                (*store)->cut_after({});
        sim_file_system killed(files);
        killed.kill();
        const bool removed = !*killed.exists("/log/" + segment_name(1));
        const bool all_removed = !*killed.exists("/log/" + segment_name(kept));
        for (std::uint64_t seed = 0; seed < 60; ++seed) {
            CAPTURE(stop);
            CAPTURE(seed);
            sim_file_system copy(files);
            copy.power_cut(seed);
            const auto again = segment_store::open(copy, small);
            REQUIRE(again.has_value());
            CHECK_FALSE((*again)->lost_segments());
            const auto segments = (*again)->segments();
            CHECK((segments.empty() ? all_removed : segments.back().number >= kept));
            for (const segment_info &s : segments) {
                byte_vector content(1024);
                REQUIRE((*again)->read({s.number, segment_header_bytes}, content).has_value());
                CHECK(content == mark(s.number));
                CHECK(s.bytes == segment_header_bytes + 1024);
            }
            came_back += removed && !segments.empty() && segments.front().number < kept ? 1 : 0;
        }
    }
    CHECK(came_back > 0);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
