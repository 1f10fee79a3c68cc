#include "replicator/sender/sender_state.hpp"
#include "replicator/sender/sender_verify.hpp"
#include "replicator/sender/throttle.hpp"
#include "replicator/session/frame_assembly.hpp"
#include "replicator/session/group_memory.hpp"
#include "replicator/session/point_name.hpp"
#include "replicator/session/trust.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

buffer frame(std::uint64_t stream, std::uint64_t interval, std::uint32_t index,
             frame_type type = frame_type::data) {
    frame_header h;
    h.type = type;
    h.stream = stream_id{stream};
    h.interval = interval_id{interval};
    h.index = index;
    return make_frame(h, as_bytes("x"));
}

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("frame assembly: frames come out in order whatever order they arrive in") {
        frame_assembly a(1 << 20);
        a.expect({stream_id{1}, interval_id{5}}, 0);
        CHECK(a.add(frame(1, 5, 1)));
        CHECK(a.add(frame(1, 6, 0, frame_type::barrier)));
        CHECK_FALSE(a.take());
        CHECK(a.add(frame(1, 5, 0)));
        CHECK(a.take());
        CHECK(a.take());
        CHECK_FALSE(a.take());
        CHECK(a.add(frame(1, 5, 2, frame_type::barrier)));
        CHECK(a.take()->barrier);
        CHECK(a.take()->barrier);
        CHECK(a.held_bytes() == 0);
    }

    TEST_CASE("frame assembly: late frames of another stream and frames already taken are ignored, "
              "doubles refused") {
        frame_assembly a(1 << 20);
        a.expect({stream_id{1}, interval_id{5}}, 2);
        CHECK(a.add(frame(2, 5, 2)));
        CHECK(a.add(frame(1, 5, 1)));
        CHECK(a.add(frame(1, 4, 9)));
        CHECK(a.held_bytes() == 0);
        CHECK(a.add(frame(1, 5, 3)));
        CHECK_FALSE(a.add(frame(1, 5, 3)));
    }

    TEST_CASE("frame assembly: a window of the smallest frames is no more memory than one of large "
              "ones") {
        constexpr std::uint64_t window = 64 << 20;
        frame_assembly a(window);
        a.expect({stream_id{1}, interval_id{1}}, 0);
        std::uint32_t held = 0;
        while (held <= limits::frames_per_interval_max &&
               a.add(frame(1, 1 + held / 4000, 1 + held % 4000))) {
            // the first in turn never comes
            ++held;
        }
        CHECK(held == limits::frames_per_interval_max);
        constexpr std::uint64_t page_and_place = 4096 + 256;
        CHECK(held * page_and_place <= window);
    }

    TEST_CASE("frame assembly: no more than a window is held; what is no frame is refused") {
        frame_assembly a(2 * frame_window_bytes(1));
        a.expect({stream_id{1}, interval_id{1}}, 0);
        CHECK(a.add(frame(1, 1, 1)));
        CHECK(a.add(frame(1, 1, 2)));
        CHECK_FALSE(a.add(frame(1, 1, 3)));
        CHECK_FALSE(a.add(buffer::copy_of(as_bytes("no frame"))));
        buffer longer(frame_header_bytes + 2);
        const buffer whole = frame(1, 1, 4);
        std::memcpy(longer.data(), whole.data(), whole.size());
        CHECK_FALSE(a.add(std::move(longer)));
    }

    TEST_CASE("point name: ids, times with zones, ages, latest; all else is refused") {
        const wall_time now{std::chrono::seconds(1767225600)}; // 2026-01-01T00:00:00Z
        CHECK(std::holds_alternative<point_latest>(*parse_point_name("")));
        CHECK(std::holds_alternative<point_latest_app>(*parse_point_name("latest-app")));
        CHECK(std::get<point_by_id>(*parse_point_name("4711")).id == 4711);
        CHECK(std::get<point_by_age>(*parse_point_name("-5m")).age == std::chrono::minutes(5));
        CHECK(std::get<point_by_time>(*parse_point_name("2026-01-01T01:00:00+01:00")).time == now);
        CHECK(std::get<point_by_time>(*parse_point_name("2026-01-01t00:00:00.5z")).time ==
              now + std::chrono::milliseconds(500));
        for (const char *bad : {"-5", "-m", "a day ago", "2026-13-01T00:00:00Z",
                                "2026-01-01T00:00:00", "99999999999999999999999", "4711x"}) {
            CAPTURE(bad);
            CHECK_FALSE(parse_point_name(bad));
        }
        CHECK(std::get<point_by_label>(*parse_point_name("before-upgrade")).name ==
              "before-upgrade");
    }

    TEST_CASE("point name: what is printed names the point that it was printed of") {
        std::vector<dated_point> points;
        wall_time t{std::chrono::seconds(1767225600)};
        for (int i = 0; i < 200; ++i) {
            t += std::chrono::nanoseconds(1'234'567 + i * 987'654);
            points.push_back({t, {}});
        }
        for (std::size_t i = 0; i < points.size(); ++i) {
            CHECK(choose_point(*parse_point_name(to_rfc3339(points[i].time)), points) == i);
        }
        CHECK_FALSE(choose_point(*parse_point_name("2025-12-31T23:59:59.999Z"), points));
    }

    TEST_CASE("point name: after the primary's clock was set back every point is still named by "
              "its own time") {
        const auto at = [](int minute) {
            return wall_time(std::chrono::minutes(30'000'000 + minute));
        };
        const std::vector<dated_point> points{{at(0), std::chrono::minutes(9)},
                                              {at(60), std::chrono::minutes(8)},
                                              {at(1), std::chrono::minutes(7)},
                                              {at(2), std::chrono::minutes(6)},
                                              {at(2), std::chrono::minutes(5)}};
        CHECK(choose_point(point_by_time{at(0)}, points) == 0);
        CHECK(choose_point(point_by_time{at(60)}, points) == 1);
        CHECK(choose_point(point_by_time{at(1)}, points) == 2);
        CHECK(choose_point(point_by_time{at(2)}, points) == 4); // of equal times the newest
        CHECK(choose_point(point_by_time{at(59)}, points) == 4);
        CHECK(choose_point(point_by_age{std::chrono::seconds(0)}, points) == 4);
        CHECK(choose_point(point_by_age{std::chrono::seconds(330)}, points) == 3);
        CHECK(choose_point(point_by_age{std::chrono::minutes(8)}, points) == 1);
        CHECK_FALSE(choose_point(point_by_age{std::chrono::minutes(10)}, points));
        CHECK_FALSE(choose_point(point_latest{}, points));
    }

    TEST_CASE("group memory: history has 3/16 of a share or what is set, at most half, two thirds "
              "of it for the index") {
        using limits::MiB;
        CHECK(history_memory_of(512 * MiB, 1).index_bytes == 64 * MiB);
        CHECK(history_memory_of(512 * MiB, 1).content_bytes == 32 * MiB);
        CHECK(history_memory_of(512 * MiB, 2).index_bytes == 32 * MiB);
        CHECK(history_memory_of(512 * MiB, 1, 48 * MiB).index_bytes == 32 * MiB);
        CHECK(history_memory_of(512 * MiB, 1, 48 * MiB).content_bytes == 16 * MiB);
        CHECK(history_memory_of(512 * MiB, 1, 400 * MiB).sum() <= 256 * MiB);
    }

    TEST_CASE("trust: a token is good once, for its group, for an hour") {
        const wall_time now{std::chrono::seconds(1767225600)};
        trust_store s;
        CHECK_FALSE(s.has_open_invitation(now));
        s.add_invitation("shop", "secret", now);
        CHECK(s.has_open_invitation(now));
        CHECK_FALSE(s.redeem("other", "secret", now));
        CHECK_FALSE(s.redeem("shop", "guess", now));
        auto copy = *trust_store::parse(s.to_json());
        CHECK_FALSE(copy.redeem("shop", "secret", now + invitation_lifetime));
        CHECK(copy.redeem("shop", "secret", now + invitation_lifetime - std::chrono::seconds(1)));
        CHECK_FALSE(copy.redeem("shop", "secret", now));
        CHECK_FALSE(copy.has_open_invitation(now));
        CHECK(s.to_json().find("secret") == std::string::npos);
    }

    TEST_CASE("trust: an invitation ends when it is revoked, when its group is unpaired, and with "
              "a clock that goes back") {
        const wall_time now{std::chrono::seconds(1767225600)};
        trust_store s;
        s.add_invitation("shop", "one", now);
        s.add_invitation("mail", "two", now + std::chrono::minutes(1));
        const auto listed = s.open_invitations(now + std::chrono::minutes(1));
        REQUIRE(listed.size() == 2);
        CHECK(listed[0].group == "shop");
        CHECK(listed[0].expires == now + invitation_lifetime);
        CHECK(listed[0].id != listed[1].id);
        const wall_time later = now + std::chrono::minutes(2);
        SUBCASE("revoked") {
            CHECK_FALSE(s.revoke(listed[0].id.substr(0, 4), later));
            CHECK_FALSE(s.revoke("", later));
            CHECK(s.revoke(listed[0].id, later));
            CHECK_FALSE(s.revoke(listed[0].id, later));
            CHECK(s.redeem("shop", "one", later).error().context.find("revoked") !=
                  std::string::npos);
            CHECK(s.redeem("mail", "two", later));
        }
        SUBCASE("unpaired") {
            s.pin("shop", {"f", "a"});
            CHECK(s.unpin("shop"));
            CHECK_FALSE(s.redeem("shop", "one", later));
            CHECK(s.redeem("mail", "two", later));
        }
        SUBCASE("a clock that shows a time before it was made") {
            CHECK_FALSE(s.redeem("shop", "one", now - std::chrono::seconds(1)));
            CHECK(s.redeem("shop", "one", now));
        }
        SUBCASE("run out once, it stays so, over a restart too") {
            CHECK(s.settle_invitations(now + invitation_lifetime));
            trust_store again = *trust_store::parse(s.to_json());
            CHECK_FALSE(again.redeem("shop", "one", later));
            CHECK(again.redeem("mail", "two", now + invitation_lifetime));
        }
        SUBCASE("seen open at a time, a clock that shows an earlier one ends it") {
            CHECK(s.settle_invitations(later));
            CHECK_FALSE(s.settle_invitations(later));
            trust_store again = *trust_store::parse(s.to_json());
            CHECK_FALSE(again.has_open_invitation(later - std::chrono::seconds(1)));
            CHECK(again.settle_invitations(later - std::chrono::seconds(1)));
            CHECK_FALSE(again.has_open_invitation(later));
        }
    }

    TEST_CASE("trust: a token survives the way through a terminal and a damaged one is refused") {
        const std::string text =
            encode_token({"shop", "dr.example.net:7420", std::string(64, 'a'), random_secret()});
        auto t = parse_token("  " + text + "\n");
        REQUIRE(t);
        CHECK(t->group == "shop");
        CHECK(t->address == "dr.example.net:7420");
        CHECK_FALSE(parse_token(text.substr(0, text.size() - 20)));
        CHECK_FALSE(parse_token("farshore1.!!!"));
        CHECK_FALSE(parse_token(""));
        CHECK_FALSE(trust_store::parse("[]"));
        CHECK_FALSE(trust_store::parse("{\"peers\": 3}"));
    }

    TEST_CASE("state: every state is reached by the facts that its name claims") {
        sender_state_facts f;
        CHECK(state_of(f) == sender_state::unpaired);
        f.paired = true;
        CHECK(state_of(f) == sender_state::initial_sync);
        f.ever_consistent = true;
        CHECK(state_of(f) == sender_state::tracking);
        f.recording = f.connected = true;
        CHECK(state_of(f) == sender_state::catching_up);
        f.consistent = true;
        CHECK(state_of(f) == sender_state::streaming);
        f.backlog_on_disk = true;
        CHECK(state_of(f) == sender_state::spooling);
        f.backlog_on_disk = f.connected = false;
        CHECK(state_of(f) == sender_state::spooling);
        f.paused = true;
        CHECK(state_of(f) == sender_state::paused);
        f.role = site_role::handing_over;
        CHECK(state_of(f) == sender_state::handing_over);
        f.role = site_role::fenced;
        CHECK(state_of(f) == sender_state::fenced);
        f.failed = true;
        CHECK(state_of(f) == sender_state::failed);
        for (unsigned bits = 0; bits < 256; ++bits) {
            const auto bit = [bits](unsigned n) { return (bits >> n & 1U) != 0; };
            const sender_state_facts g{
                false, site_roles[bits % 4], bit(2), bit(3), bit(4), bit(5), bit(6), bit(7)};
            if (state_of(g) == sender_state::streaming) {
                CHECK((g.role == site_role::serving && g.paired && g.recording && g.connected &&
                       g.consistent && !g.backlog_on_disk));
            }
        }
    }

    TEST_CASE("throttle: an override expires by itself and leaves what was set or configured") {
        const wall_time now{std::chrono::seconds(1000)};
        throttle_setting s;
        CHECK(view_of(s, now).source == "none");
        s.configured = 100;
        CHECK(view_of(s, now).source == "config");
        s.is_set = true;
        s.set_rate = 50;
        s.has_override = true;
        s.override_rate = std::nullopt;
        s.override_until = now + std::chrono::seconds(10);
        CHECK(view_of(s, now).source == "override");
        CHECK_FALSE(view_of(s, now).rate);
        CHECK(view_of(s, now + std::chrono::seconds(10)).rate == 50);
    }

    namespace {

    /// What the next barrier compares, of a volume whose data lies in `data`, ascending.
    std::vector<pending_range> take_some(verify_run &run, const std::vector<byte_range> &data,
                                         std::size_t max = 64) {
        std::vector<pending_range> all;
        for (;;) {
            if (const auto where = run.wants_data()) {
                const auto next = std::ranges::find_if(
                    data, [&](byte_range d) { return d.end() > where->range.offset; });
                run.data_is(next == data.end() ? byte_range{} : *next);
            }
            const auto some = run.take(max - all.size(), 64 << 20);
            all.insert(all.end(), some.begin(), some.end());
            if (some.empty() || all.size() == max) {
                return all;
            }
        }
    }

    } // namespace

    TEST_CASE("verify: holes are ranges of up to 2 GiB, and a block that differs in one is found "
              "in few rounds") {
        const std::uint64_t size = (64ULL << 30) + 512;
        const std::vector<byte_range> data = {{5000, 10}, {32ULL << 30, 3 << 20}};
        verify_run run({size});
        const std::uint64_t wrong = 20'000'000'000;
        std::uint64_t id = 1;
        std::uint64_t asked = 0;
        int rounds = 0;
        while (!run.done()) {
            REQUIRE(++rounds < 12);
            wire::verify_result answer;
            answer.interval = id;
            std::vector<verify_entry> kept;
            for (const pending_range &r : take_some(run, data)) {
                CHECK(r.range.offset % block_bytes == 0);
                CHECK(r.range.length <= limits::verify_hole_bytes_max);
                const bool empty =
                    std::ranges::none_of(data, [&](byte_range d) { return d.overlaps(r.range); });
                REQUIRE((empty || !verify_run::is_hole(r)));
                kept.push_back({r.volume, r.range, {}});
                answer.items.push_back({0, r.range.offset, r.range.length,
                                        !(r.range.offset <= wrong && wrong < r.range.end())});
                ++asked;
            }
            run.on_cut(interval_id{id++}, kept);
            run.on_result(answer);
        }
        CHECK(asked < 200);
        CHECK(run.done_bytes() == size);
        REQUIRE(run.differences().size() == 1);
        CHECK(run.differences()[0].range ==
              byte_range{wrong / block_bytes * block_bytes, block_bytes});
    }

    TEST_CASE("verify: a range that is no hole any more is looked at in parts") {
        verify_run run({1ULL << 30});
        const auto taken = take_some(run, {});
        REQUIRE(taken.size() == 1);
        run.no_hole(taken[0]);
        const auto parts = take_some(run, {});
        CHECK(parts.size() == 16);
        // Nor is one of which the DR site has too much data to look at; that is no difference
        // either.
        wire::verify_result answer;
        answer.interval = 1;
        std::vector<verify_entry> asked;
        for (const pending_range &r : parts) {
            asked.push_back({r.volume, r.range, {}});
            answer.items.push_back({0, r.range.offset, r.range.length, false, true});
        }
        run.on_cut(interval_id{1}, asked);
        run.on_result(answer);
        CHECK(run.to_heal().empty());
        CHECK(take_some(run, {}, 4096).size() == 16 * 16);
        CHECK(parts[15].range == byte_range{15ULL << 26, 1ULL << 26});
    }

    TEST_CASE("verify: touched ranges come again in halves, different ones more finely, until all "
              "is answered") {
        verify_run run({3 << 20});
        const std::vector<byte_range> dense = {{0, 3 << 20}};
        auto taken = take_some(run, dense);
        REQUIRE(taken.size() == 3);
        const auto entry = [](const pending_range &r) {
            return verify_entry{r.volume, r.range, {}};
        };
        run.on_cut(interval_id{9}, {entry(taken[0]), entry(taken[1])});
        run.put_back_touched(); // the third was written to
        wire::verify_result answer;
        answer.interval = 9;
        answer.items = {{0, 0, 1 << 20, true}, {0, 1 << 20, 1 << 20, false}};
        run.on_result(answer);
        CHECK_FALSE(run.waiting());
        taken = take_some(run, dense);
        CHECK(taken.size() == 2 + 16);
        int rounds = 0;
        std::uint64_t id = 10;
        while (!run.done()) {
            REQUIRE(++rounds < 50);
            std::vector<verify_entry> all;
            answer = {};
            answer.interval = id;
            for (const auto &r : taken) {
                all.push_back(entry(r));
                const bool damaged = r.range.offset <= 1'100'000 && r.range.end() > 1'100'000;
                answer.items.push_back({0, r.range.offset, r.range.length, !damaged});
            }
            run.on_cut(interval_id{id++}, all);
            run.on_result(answer);
            taken = take_some(run, dense);
        }
        const auto differences = run.differences();
        REQUIRE(differences.size() == 1);
        CHECK(differences[0].range == byte_range{1'100'000 / 4096 * 4096, 4096});
        CHECK(run.done_bytes() == run.total_bytes());
    }
}

} // namespace farshore
