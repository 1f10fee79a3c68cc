// The scan of a catch-up, beside a real capture group on a simulated disk and a DR site that says
// what its copy holds, or nothing.

#include "replicator/sender/catch_up_scan.hpp"
#include "tests/unit/capture/capture_rig.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <set>

using namespace farshore;
using test::capture_rig;

namespace {

constexpr std::uint64_t piece = limits::MiB;

class scan_rig {
  public:
    explicit scan_rig(std::vector<std::uint64_t> sizes) : at(1, std::move(sizes)) {
        at.note(at.open());
        options.same = [this](const pending_range &r) { same.push_back(r.range); };
        options.holes = [this](std::uint64_t bytes) { hole_bytes += bytes; };
        options.before_data = [this] { return note_data(); };
        room = [](bool) { return true; };
    }
    ~scan_rig() {
        if (scan && !ended) {
            scan->stop(); // nothing may wait for it when it goes
            CHECK(finish());
        }
        CHECK(at.problems == std::vector<std::string>{});
    }

    /// Content that both sites have. The map says that it may differ.
    void seed(std::size_t volume, std::uint64_t offset, std::uint64_t bytes) {
        at.note(at.write(volume, offset, at.content(bytes)));
        at.durable = at.live;
    }
    /// What only the primary has.
    void change(std::size_t volume, std::uint64_t offset, std::uint64_t bytes) {
        at.note(at.write(volume, offset, at.content(bytes)));
    }
    void begin() {
        at.begin_recording();
        scan.emplace(
            *at.group, runtime{io.get_executor(), io.get_executor(), {}, {}, &at.clock}, options,
            [this](wire::digest_request q) { return take(std::move(q)); },
            [this](wire::extent_request q) { return take_extents(std::move(q)); },
            [this](bool overdue) {
                ++looks;
                return room(overdue);
            });
        asio::co_spawn(io, scan->run(), [this](std::exception_ptr, result<> r) { ended = r; });
    }
    /// False: it waits for something that does not come.
    bool finish(duration most = std::chrono::hours(1)) {
        return test::run_until(io, at.clock, [this] { return ended.has_value(); }, most);
    }
    /// Blocks of the interval that the scan recorded into; the model checks their content.
    std::uint64_t recorded() {
        at.close(true);
        std::uint64_t blocks = 0;
        for (const block_change &c : at.line.back().closed->changes()) {
            blocks += c.count;
        }
        while (at.deliver()) {
        }
        at.expect(test::same_volumes(at.live, at.durable), "the sites differ after the scan");
        return blocks;
    }
    wire::digest_reply reply_to(const wire::digest_request &q) const {
        dedupe::digester digester(options.key);
        wire::digest_reply reply{q.id, {}, {}};
        std::uint64_t unit = 0;
        for (const wire::digest_range &r : q.ranges) {
            const auto copy = bytes_view(at.durable[r.volume]).subspan(r.offset, r.length);
            for (std::uint64_t from = 0; from < r.length; from += q.unit, ++unit) {
                reply.zero_bits.resize(unit / 8 + 1);
                const auto part = copy.subspan(from, std::min(q.unit, r.length - from));
                if (is_zero(part)) {
                    reply.zero_bits[unit / 8] |= std::byte{1} << (unit % 8);
                } else {
                    const auto digest = digester.of(part).bytes;
                    reply.digests.insert(reply.digests.end(), digest.begin(), digest.end());
                }
            }
        }
        return reply;
    }
    std::vector<std::uint64_t> units_asked() const {
        std::vector<std::uint64_t> units;
        for (const wire::digest_request &q : asked) {
            units.push_back(q.unit);
        }
        return units;
    }

    capture_rig at;
    asio::io_context io;
    scan_options options;
    std::function<bool(bool overdue)> room;
    bool answers = true;
    bool copy_has_data = true; ///< as far as the answers about extents go
    result<> line_works = {};
    std::optional<catch_up_scan> scan;
    std::optional<result<>> ended;

    std::vector<wire::digest_request> asked;
    std::size_t extents_asked = 0;
    std::vector<byte_range> same;
    std::uint64_t hole_bytes = 0;
    int data_began = 0;
    int looks = 0; ///< for room

  private:
    task<void> note_data() {
        ++data_began;
        co_return;
    }
    task<result<>> take(wire::digest_request q) {
        FS_CO_CHECK(line_works);
        if (answers) {
            scan->on_reply(reply_to(q));
        }
        asked.push_back(std::move(q));
        co_return result<>{};
    }
    task<result<>> take_extents(wire::extent_request q) {
        ++extents_asked;
        wire::extent_reply reply{q.id, {}, {}};
        for (const wire::extent_range &r : q.ranges) {
            reply.parts.push_back({r.length, copy_has_data ? 1U : 0U});
            if (copy_has_data) {
                reply.extents.push_back({0, block_count(r.length)});
            }
        }
        if (answers) {
            at.note(scan->on_extents(reply));
        }
        co_return result<>{};
    }
};

std::vector<byte_range> ranges_of(const wire::digest_request &q) {
    std::vector<byte_range> out;
    for (const wire::digest_range &r : q.ranges) {
        out.push_back({r.offset, r.length});
    }
    return out;
}

} // namespace

TEST_SUITE_BEGIN("catch-up scan");

TEST_CASE("catch-up scan: what differs is looked at in ever smaller units, and its blocks alone "
          "are recorded") {
    scan_rig rig({4 * piece});
    rig.seed(0, 0, 4 * piece);
    rig.change(0, 2 * piece + 5 * region_bytes + block_bytes, block_bytes);
    rig.begin();
    REQUIRE(rig.finish());
    CHECK(rig.ended->has_value());
    CHECK(rig.units_asked() == std::vector<std::uint64_t>{piece, region_bytes, block_bytes});
    CHECK(ranges_of(rig.asked[0]).size() == 4);
    CHECK(ranges_of(rig.asked[1]) == std::vector<byte_range>{{2 * piece, piece}});
    CHECK(ranges_of(rig.asked[2]) ==
          std::vector<byte_range>{{2 * piece + 5 * region_bytes, region_bytes}});
    CHECK(rig.same == std::vector<byte_range>{{0, piece}, {piece, piece}, {3 * piece, piece}});
    CHECK(rig.data_began == 1);
    CHECK(rig.at.group->pending_bytes() == 0);
    CHECK(rig.recorded() == 1);
}

TEST_CASE("catch-up scan: where the copy has zeroes it is not asked again") {
    scan_rig rig({2 * piece});
    rig.change(0, piece + block_bytes, 3 * block_bytes);
    rig.begin();
    REQUIRE(rig.finish());
    CHECK(rig.units_asked() == std::vector<std::uint64_t>{piece});
    CHECK(rig.recorded() == 3);
}

TEST_CASE("catch-up scan: only pending regions are asked for, in all volumes") {
    scan_rig rig({2 * piece, region_bytes, piece + 512});
    rig.begin();
    REQUIRE(rig.finish());
    rig.recorded();
    REQUIRE(rig.at.dirty_bytes() == 0);
    rig.at.group->begin_tracking();
    rig.change(0, 3 * region_bytes, 100);
    rig.change(2, piece, 512);
    rig.asked.clear();
    rig.ended.reset();
    rig.begin();
    REQUIRE(rig.finish());
    REQUIRE(rig.asked.size() >= 1);
    REQUIRE(rig.asked[0].ranges.size() == 2);
    CHECK(rig.asked[0].ranges[0].volume == 0);
    CHECK(rig.asked[0].ranges[1].volume == 2);
    CHECK(ranges_of(rig.asked[0]) ==
          std::vector<byte_range>{{3 * region_bytes, region_bytes}, {piece, 512}});
    CHECK(rig.recorded() == 2);
}

TEST_CASE("catch-up scan: runs of holes at both sides are settled without a digest") {
    scan_rig rig({8 * piece});
    rig.copy_has_data = false;
    rig.change(0, 5 * piece + 3 * block_bytes, block_bytes); // only here: recorded, not asked for
    rig.begin();
    REQUIRE(rig.finish());
    CHECK(rig.extents_asked == 1);
    CHECK(rig.asked.empty());
    CHECK(rig.hole_bytes == 8 * piece - region_bytes);
    CHECK(rig.data_began == 1);
    CHECK(rig.recorded() == 1);
}

TEST_CASE("catch-up scan: without room nothing is recorded, and a client's write is") {
    scan_rig rig({2 * piece});
    rig.change(0, 0, 2 * piece);
    rig.room = [](bool) { return false; };
    rig.begin();
    CHECK_FALSE(rig.finish(std::chrono::seconds(10)));
    CHECK(rig.looks > 10);
    CHECK(rig.at.group->pending_bytes() == 2 * piece);
    rig.room = [](bool) { return true; };
    rig.scan->kick();
    REQUIRE(rig.finish());
    CHECK(rig.recorded() == 2 * piece / block_bytes);
}

TEST_CASE("catch-up scan: a piece that is overdue goes out beside clients that leave no room") {
    scan_rig rig({4 * piece});
    rig.change(0, 0, 4 * piece);
    int granted = 0;
    rig.room = [&](bool overdue) {
        granted += overdue ? 1 : 0;
        return overdue;
    };
    const time_point began = rig.at.clock.now();
    rig.begin();
    REQUIRE(rig.finish());
    const duration took = rig.at.clock.now() - began;
    CHECK(granted == 4);
    CHECK(took >= 3 * std::chrono::milliseconds(200)); // the first one is due at once
    CHECK(took < 4 * std::chrono::milliseconds(200));
    CHECK(rig.recorded() == 4 * piece / block_bytes);
}

TEST_CASE("catch-up scan: so many bytes wait for answers, and no more") {
    scan_rig rig({40 * piece});
    rig.seed(0, 0, piece); // so that the copy has something to compare
    rig.options.ahead_bytes_max = 20 * piece;
    rig.answers = false;
    rig.begin();
    test::run_ready(rig.io);
    REQUIRE(rig.extents_asked == 1);
    wire::extent_reply all{1, {{40 * piece, 1}}, {{0, block_count(40 * piece)}}};
    REQUIRE(rig.scan->on_extents(all));
    test::run_ready(rig.io);
    REQUIRE(rig.asked.size() == 2); // 16 MiB each: one more byte than allowed is under way at most
    rig.scan->on_reply(rig.reply_to(rig.asked[0]));
    test::run_ready(rig.io);
    REQUIRE(rig.asked.size() == 3);
    CHECK(ranges_of(rig.asked[2]).front().offset == 32 * piece);
    rig.scan->on_reply(rig.reply_to(rig.asked[2])); // answers come in any order
    rig.scan->on_reply(rig.reply_to(rig.asked[1]));
    REQUIRE(rig.finish());
    CHECK(rig.ended->has_value());
    CHECK(rig.recorded() == 0);
}

TEST_CASE("catch-up scan: stopped while the DR site is asked, it ends; late answers are nothing") {
    scan_rig rig({4 * piece});
    rig.change(0, 0, piece);
    rig.answers = false;
    SUBCASE("about extents") {
        rig.begin();
        test::run_ready(rig.io);
        REQUIRE(rig.extents_asked == 1);
        rig.scan->stop();
        REQUIRE(rig.finish());
        const auto late = rig.scan->on_extents({1, {{4 * piece, 0}}, {}});
        REQUIRE_FALSE(late.has_value());
        CHECK(late.error().whose == fault::peer);
    }
    SUBCASE("about digests") {
        rig.begin();
        test::run_ready(rig.io);
        REQUIRE(rig.scan->on_extents({1, {{4 * piece, 1}}, {{0, block_count(4 * piece)}}}));
        test::run_ready(rig.io);
        REQUIRE(rig.asked.size() == 1);
        rig.scan->stop();
        REQUIRE(rig.finish());
        rig.scan->on_reply(rig.reply_to(rig.asked[0]));
        test::run_ready(rig.io);
    }
    SUBCASE("while it waits for room") {
        rig.answers = true;
        rig.room = [](bool) { return false; };
        rig.begin();
        CHECK_FALSE(rig.finish(std::chrono::seconds(1)));
        rig.scan->stop();
        REQUIRE(rig.finish());
    }
    CHECK(is(rig.ended->error(), errc::cancelled));
    CHECK(rig.at.group->pending_bytes() == 4 * piece);
}

TEST_CASE("catch-up scan: an answer to what was not asked is none") {
    scan_rig rig({piece});
    rig.answers = false;
    rig.begin();
    test::run_ready(rig.io);
    rig.scan->on_reply({77, {std::byte{1}}, {}});
    test::run_ready(rig.io);
    CHECK_FALSE(rig.ended.has_value());
    CHECK(rig.at.group->pending_bytes() == piece);
}

TEST_CASE("catch-up scan: told to ship everything it asks for no digest and looks for room often") {
    scan_rig rig({2 * piece});
    rig.seed(0, 0, 2 * piece);
    rig.options.compare = false;
    rig.begin();
    REQUIRE(rig.finish());
    CHECK(rig.asked.empty());
    CHECK(rig.looks == 8); // 256 KiB each
    CHECK(rig.same.empty());
    CHECK(rig.recorded() == 2 * piece / block_bytes);
}

TEST_CASE("catch-up scan: ends with the line's error, and when recording ends") {
    scan_rig rig({piece});
    rig.change(0, 0, piece);
    SUBCASE("the line") {
        rig.line_works = fail(errc::closed, "cut off");
        rig.begin();
        REQUIRE(rig.finish());
        CHECK(is(rig.ended->error(), errc::closed));
    }
    SUBCASE("the order is lost") {
        rig.room = [&](bool) {
            rig.at.group->begin_tracking();
            return true;
        };
        rig.begin();
        REQUIRE(rig.finish());
        CHECK(is(rig.ended->error(), errc::not_in_sync));
    }
}

TEST_CASE("catch-up scan: what the disk can't read is left out, the rest is recorded") {
    scan_rig rig({2 * piece});
    rig.change(0, 0, 2 * piece);
    rig.at.disk.inject({.scope = sim_scope::reads, .path_prefix = "disks/v0", .nth = 1});
    rig.begin();
    REQUIRE(rig.finish());
    CHECK(rig.ended->has_value());
    CHECK(rig.at.group->pending_bytes() == 0);
    CHECK(rig.recorded() == 2 * piece / block_bytes); // it was only once
}

TEST_SUITE_END();
