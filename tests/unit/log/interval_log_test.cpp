// The interval log on a simulated disk: order, limits, reopening, failures, damage.

#include "replicator/log/interval_log.hpp"
#include "tests/support/intervals.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <cerrno>

namespace farshore {
namespace {

using test::plain_interval;

struct rig {
    sim_file_system files{1};
    interval_log_options options{"/log", 64 * 1024, 0};
    std::unique_ptr<interval_log> log = open();

    std::unique_ptr<interval_log> open() {
        auto opened = interval_log::open(files, options);
        REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
        return std::move(*opened);
    }
    void reopen() {
        log.reset();
        log = open();
    }
    result<> add(std::uint64_t id, std::size_t frames = 2, std::size_t size = 3000) {
        for (const buffer &frame : plain_interval(id, frames, size)) {
            FS_CHECK(log->append(frame.view()));
        }
        return {};
    }
    bool holds(std::uint64_t id, std::size_t frames = 2, std::size_t size = 3000) const {
        const auto read = log->read(interval_id{id});
        const auto expected = plain_interval(id, frames, size);
        if (!read || read->size() != expected.size()) {
            return false;
        }
        return std::ranges::equal(*read, expected, [](const buffer &a, const buffer &b) {
            return std::ranges::equal(a.view(), b.view());
        });
    }
    std::vector<std::uint64_t> ids() const {
        std::vector<std::uint64_t> all;
        for (const interval_entry &e : log->entries_after({}, SIZE_MAX)) {
            all.push_back(e.position.interval.value);
        }
        return all;
    }
};

TEST_SUITE_BEGIN("log");

TEST_CASE("interval log: what was appended is read back, also after reopening") {
    rig r;
    CHECK_FALSE(r.log->first().has_value());
    CHECK_FALSE(r.log->durable().has_value());
    REQUIRE(r.add(1).has_value());
    REQUIRE(r.add(2, 0).has_value());
    REQUIRE(r.add(5).has_value());
    CHECK_FALSE(r.log->durable().has_value());
    REQUIRE(r.log->sync().has_value());
    CHECK(r.log->durable()->interval.value == 5);
    for (int round = 0; round < 2; ++round) {
        CHECK(r.ids() == std::vector<std::uint64_t>{1, 2, 5});
        CHECK(r.holds(1));
        CHECK(r.holds(2, 0));
        CHECK(r.holds(5));
        CHECK(is(r.log->read(interval_id{3}).error(), errc::not_found));
        CHECK(r.log->first()->position.interval.value == 1);
        CHECK(r.log->last()->raw_bytes == 8192);
        CHECK(r.log->entries_after(interval_id{2}, 9).size() == 1);
        CHECK(r.log->entries_after(interval_id{0}, 2).size() == 2);
        r.reopen();
        CHECK(r.log->durable()->interval.value == 5);
    }
}

TEST_CASE("interval log: frames out of order are refused and change nothing") {
    rig r;
    const auto one = plain_interval(4, 2, 100);
    CHECK(is(r.log->append(one[1].view()).error(), errc::invalid));
    REQUIRE(r.log->append(one[0].view()).has_value());
    CHECK(is(r.log->append(one[0].view()).error(), errc::invalid));
    CHECK(is(r.log->append(one[2].view()).error(), errc::invalid));
    CHECK(is(r.log->append(plain_interval(5, 2, 100)[1].view()).error(), errc::invalid));
    CHECK(is(r.log->append(plain_interval(4, 2, 100, 9)[1].view()).error(), errc::invalid));
    CHECK(r.log->incomplete()->next_index == 1);
    REQUIRE(r.log->append(one[1].view()).has_value());
    // A barrier that speaks of other frames.
    CHECK(is(r.log->append(plain_interval(4, 2, 101)[2].view()).error(), errc::invalid));
    REQUIRE(r.log->append(one[2].view()).has_value());
    CHECK_FALSE(r.log->incomplete().has_value());
    CHECK(is(r.add(4).error(), errc::invalid));
    CHECK(is(r.add(3).error(), errc::invalid));
    CHECK(r.ids() == std::vector<std::uint64_t>{4});
}

TEST_CASE("interval log: a damaged frame is refused") {
    rig r;
    buffer frame = std::move(plain_interval(1, 1, 100)[0]);
    frame.data()[80] ^= std::byte{1};
    CHECK(is(r.log->append(frame.view()).error(), errc::corrupt));
    CHECK_FALSE(r.log->incomplete().has_value());
}

TEST_CASE("interval log: an abandoned or unfinished interval leaves no trace") {
    rig r;
    REQUIRE(r.add(1).has_value());
    REQUIRE(r.log->append(plain_interval(2, 2, 100)[0].view()).has_value());
    REQUIRE(r.log->abandon_partial().has_value());
    CHECK_FALSE(r.log->incomplete().has_value());
    REQUIRE(r.add(2).has_value());
    REQUIRE(r.log->append(plain_interval(3, 2, 100)[0].view()).has_value());
    REQUIRE(r.log->sync().has_value());
    r.reopen();
    CHECK(r.ids() == std::vector<std::uint64_t>{1, 2});
    REQUIRE(r.add(3).has_value());
    CHECK(r.holds(3));
}

TEST_CASE("interval log: dropping forgets intervals and gives whole segments back") {
    rig r;
    for (std::uint64_t id = 1; id <= 40; ++id) {
        REQUIRE(r.add(id).has_value());
    }
    REQUIRE(r.log->sync().has_value());
    const std::uint64_t before = r.log->used_bytes();
    REQUIRE(r.log->drop_through(interval_id{30}).has_value());
    CHECK(r.log->first()->position.interval.value == 31);
    CHECK(r.log->used_bytes() < before / 2);
    CHECK(is(r.log->read(interval_id{30}).error(), errc::not_found));
    r.reopen();
    CHECK(r.log->first()->position.interval.value <= 31);
    CHECK(r.log->first()->position.interval.value > 1);
    CHECK(r.log->last()->position.interval.value == 40);
    CHECK(r.holds(35));
    REQUIRE(r.log->drop_through(interval_id{1000}).has_value());
    CHECK_FALSE(r.log->first().has_value());
    CHECK(is(r.add(40).error(), errc::invalid)); // ids grow even so
    REQUIRE(r.add(41).has_value());
    CHECK(r.holds(41));
}

TEST_CASE("interval log: clear forgets everything and starts anew") {
    rig r;
    for (std::uint64_t id = 10; id <= 40; ++id) {
        REQUIRE(r.add(id).has_value());
    }
    REQUIRE(r.log->clear().has_value());
    CHECK(r.log->used_bytes() == 0);
    CHECK_FALSE(r.log->durable().has_value());
    REQUIRE(r.add(1).has_value());
    r.reopen();
    CHECK(r.ids() == std::vector<std::uint64_t>{1});
}

TEST_CASE("interval log: a full log refuses, keeps what it has and goes on after a drop") {
    rig r;
    r.options.bytes_max = 200'000;
    r.reopen();
    std::uint64_t id = 1;
    while (r.add(id).has_value()) {
        REQUIRE(id < 100);
        ++id;
    }
    CHECK(r.log->used_bytes() <= 200'000);
    CHECK_FALSE(r.log->incomplete().has_value());
    CHECK(is(r.add(id).error(), errc::full));
    CHECK(r.log->last()->position.interval.value == id - 1);
    REQUIRE(r.log->drop_through(interval_id{id - 2}).has_value());
    CHECK(r.add(id).has_value());
    CHECK(r.holds(id));
}

TEST_CASE("interval log: when the disk is full the interval is dropped, later it goes on") {
    rig r;
    REQUIRE(r.add(1).has_value());
    r.files.set_capacity(r.files.used_bytes() + 4096);
    const auto refused = r.add(2, 4);
    REQUIRE_FALSE(refused.has_value());
    CHECK(is_errno(refused.error(), ENOSPC));
    CHECK_FALSE(r.log->incomplete().has_value());
    CHECK(r.log->sync().has_value());
    r.files.set_capacity(1 << 30);
    CHECK(r.add(2, 4).has_value());
    CHECK(r.log->sync().has_value());
    r.reopen();
    CHECK(r.holds(1));
    CHECK(r.holds(2, 4));
}

TEST_CASE("interval log: after a failed sync only what was durable counts, and it goes on") {
    rig r;
    REQUIRE(r.add(1).has_value());
    REQUIRE(r.log->sync().has_value());
    REQUIRE(r.add(2).has_value());
    r.files.inject({.scope = sim_scope::syncs, .path_prefix = "/log"});
    CHECK(is_errno(r.log->sync().error(), EIO));
    CHECK(r.ids() == std::vector<std::uint64_t>{1});
    CHECK(r.log->durable()->interval.value == 1);
    REQUIRE(r.add(2, 3).has_value());
    REQUIRE(r.log->sync().has_value());
    CHECK(r.log->durable()->interval.value == 2);
    r.reopen();
    CHECK(r.holds(1));
    CHECK(r.holds(2, 3));
    r.log.reset();
    r.files.power_cut(0);
    r.log = r.open();
    CHECK(r.holds(2, 3));
}

TEST_CASE("interval log: a flipped byte anywhere is never served, the log ends before it") {
    rig r;
    for (std::uint64_t id = 1; id <= 30; ++id) {
        REQUIRE(r.add(id).has_value());
    }
    REQUIRE(r.log->sync().has_value());
    r.log.reset();
    for (const std::string &name : *r.files.list("/log")) {
        const std::string path = "/log/" + name;
        const std::uint64_t size = *(*r.files.open(path, open_mode::read))->size();
        for (std::uint64_t offset = 0; offset < size; offset += 997) {
            CAPTURE(name);
            CAPTURE(offset);
            sim_file_system copy(r.files);
            copy.corrupt(path, offset);
            const auto log = interval_log::open(copy, r.options);
            REQUIRE(log.has_value());
            std::uint64_t before = 0;
            for (const interval_entry &e : (*log)->entries_after({}, SIZE_MAX)) {
                const std::uint64_t id = e.position.interval.value;
                CHECK((before == 0 || id == before + 1)); // an unbroken run
                before = id;
                const auto frames = (*log)->read(e.position.interval);
                REQUIRE(frames.has_value());
                CHECK(std::ranges::equal(frames->at(0).view(),
                                         plain_interval(id, 2, 3000)[0].view()));
            }
            CHECK((*log)->entries_after({}, SIZE_MAX).size() < 30);
        }
    }
}

TEST_CASE("interval log: damage that comes after opening is found on reading") {
    rig r;
    REQUIRE(r.add(1).has_value());
    REQUIRE(r.log->sync().has_value());
    r.files.corrupt("/log/0000000001.seg", 2000);
    CHECK(is(r.log->read(interval_id{1}).error(), errc::corrupt));
}

TEST_CASE("interval log: a large interval is read in runs of bounded size") {
    rig r;
    REQUIRE(r.add(1, 40, 200'000).has_value());
    frame_cursor cursor;
    std::size_t frames = 0;
    for (;;) {
        const auto run = r.log->read_run(interval_id{1}, cursor, 2'000'000);
        REQUIRE(run.has_value());
        if (run->frames.empty()) {
            break;
        }
        CHECK(run->bytes.size() <= 2'000'000);
        frames += run->frames.size();
    }
    CHECK(frames == 41);
    CHECK(cursor.index == 41);
    r.reopen();
    CHECK(r.holds(1, 40, 200'000));
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
