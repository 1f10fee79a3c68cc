// What a peer says must answer something asked or known; else it is the peer's fault, and nothing
// has changed.

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/sender/sender_verify.hpp"
#include "replicator/session/handshake.hpp"
#include "replicator/session/peer_claims.hpp"
#include "replicator/session/reaction.hpp"

#include <doctest/doctest.h>

#include <tuple>

namespace farshore {
namespace {

constexpr std::uint64_t top = ~std::uint64_t{0};
constexpr stream_id ours{7};
constexpr stream_id older{6};

template <class T>
bool is_peers_fault(const result<T> &r) {
    return !r && r.error().whose == fault::peer;
}

/// Welcomed at interval 10 of an older stream; 11 and 12 of ours were sent, 1000 bytes.
receiver_claims shipping() {
    receiver_claims c({limits::MiB, 5000});
    wire::welcome w;
    w.durable = {older, interval_id{10}};
    w.applied = {older, interval_id{8}};
    w.damage_count = 3;
    c.greeted(w);
    c.sends_stream(ours);
    c.sent_bytes(1000);
    c.sent_through(interval_id{12});
    return c;
}
wire::ack acknowledging(stream_id stream, std::uint64_t interval) {
    wire::ack a;
    a.durable = {stream, interval_id{interval}};
    a.applied = {older, interval_id{8}};
    a.damage_count = 3;
    return a;
}

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("peer claims: a welcome is at most 2^40 above what is known") {
        wire::welcome w;
        for (const std::uint64_t known :
             {std::uint64_t{0}, std::uint64_t{77}, limits::interval_id_max}) {
            for (const std::uint64_t ahead : {std::uint64_t{0}, limits::interval_jump_max}) {
                w.durable.interval.value = known + ahead;
                CHECK(check_welcome(w, interval_id{known}));
            }
            w.durable.interval.value = known + limits::interval_jump_max + 1;
            CHECK(is_peers_fault(check_welcome(w, interval_id{known})));
            w.durable = {};
            w.partial.interval.value = known + limits::interval_jump_max + 1;
            CHECK(is_peers_fault(check_welcome(w, interval_id{known})));
            w.partial = {};
        }
    }

    TEST_CASE("peer claims: an ack names what this session sent to its end, or what it was "
              "welcomed with") {
        CHECK(shipping().take(acknowledging(older, 10)));
        CHECK(shipping().take(acknowledging(ours, 11)));
        CHECK(shipping().take(acknowledging(ours, 12)));
        for (const auto &[stream, interval] :
             {std::pair(ours, std::uint64_t{13}), std::pair(ours, limits::interval_id_max),
              std::pair(ours, top), std::pair(older, std::uint64_t{11}),
              std::pair(older, std::uint64_t{9}), std::pair(ours, std::uint64_t{9}),
              std::pair(stream_id{99}, std::uint64_t{11}),
              std::pair(stream_id{}, std::uint64_t{0})}) {
            CAPTURE(interval);
            CHECK(is_peers_fault(shipping().take(acknowledging(stream, interval))));
        }
        receiver_claims c = shipping();
        REQUIRE(c.take(acknowledging(ours, 12)));
        CHECK(is_peers_fault(c.take(acknowledging(ours, 11)))); // back
        CHECK(is_peers_fault(c.take(acknowledging(older, 10))));
        CHECK(c.take(acknowledging(ours, 12)));
    }

    TEST_CASE("peer claims: an ack's bytes, applied position and damage go forward and no further "
              "than what is true") {
        for (const std::uint64_t bytes : {std::uint64_t{1001}, top}) {
            receiver_claims c = shipping();
            wire::ack a = acknowledging(ours, 11);
            a.journaled_bytes = bytes;
            CHECK(is_peers_fault(c.take(a)));
            CHECK(c.bytes_on_the_way() == 1000); // nothing of it was believed
            a = acknowledging(older, 10);
            CHECK(c.take(a));
            a.journaled_bytes = 1000;
            CHECK(c.take(a));
            a.journaled_bytes = 999;
            CHECK(is_peers_fault(c.take(a)));
        }
        wire::ack back = acknowledging(ours, 11);
        back.applied.interval.value = 7;
        CHECK(is_peers_fault(shipping().take(back)));
        wire::ack fewer = acknowledging(ours, 11);
        fewer.damage_count = 2;
        CHECK(is_peers_fault(shipping().take(fewer)));
    }

    TEST_CASE("peer claims: answers to streams, digests and loans that were not asked for") {
        receiver_claims c = shipping();
        wire::stream_ready ready;
        ready.stream = ours.value;
        CHECK(is_peers_fault(c.answered(ready)));
        wire::begin_stream begin;
        begin.stream = ours.value;
        c.asked(begin);
        ready.stream = ours.value + 1;
        CHECK(is_peers_fault(c.answered(ready)));
        ready.stream = ours.value;
        CHECK(c.answered(ready));
        CHECK(is_peers_fault(c.answered(ready))); // once

        wire::digest_request question;
        question.id = 5;
        question.unit = block_bytes;
        question.ranges = {{0, 0, 2 * block_bytes}, {1, 0, 5000}}; // four units
        c.asked(question);
        wire::digest_reply answer;
        answer.id = 5;
        answer.zero_bits = {std::byte{0b0101}};
        answer.digests.resize(32);
        for (const std::uint64_t id : {std::uint64_t{4}, top}) {
            wire::digest_reply other = answer;
            other.id = id;
            CHECK(is_peers_fault(c.answered(other)));
        }
        wire::digest_reply broken = answer;
        broken.zero_bits.resize(2);
        CHECK(is_peers_fault(c.answered(broken)));
        broken = answer;
        broken.zero_bits = {std::byte{0b10101}};
        CHECK(is_peers_fault(c.answered(broken)));
        for (const std::size_t bytes : {16, 48}) {
            broken = answer;
            broken.digests.resize(bytes);
            CHECK(is_peers_fault(c.answered(broken)));
        }
        CHECK(c.answered(answer));
        CHECK(is_peers_fault(c.answered(answer)));

        wire::loan_request wanted;
        wanted.id = 9;
        wanted.runs = {{0, 0, byte_vector(12 * 16)}};
        c.asked(wanted);
        wire::loan_reply lent;
        lent.id = 9;
        lent.slots = 64;
        lent.granted = {std::byte{0xff}, std::byte{0x0f}};
        wire::loan_reply other = lent;
        other.id = 8;
        CHECK(is_peers_fault(c.answered(other)));
        other = lent;
        other.granted.resize(1);
        CHECK(is_peers_fault(c.answered(other)));
        other = lent;
        other.granted[1] = std::byte{0x1f};
        CHECK(is_peers_fault(c.answered(other)));
        CHECK(c.answered(lent));
        CHECK(is_peers_fault(c.answered(lent)));
        CHECK(c.loans_unanswered() == 0);
    }

    TEST_CASE("peer claims: a nak names blocks of the group") {
        wire::nak n;
        n.damage_count = 4;
        for (const auto &[volume, block, good] :
             {std::tuple(0U, std::uint64_t{255}, true), std::tuple(0U, std::uint64_t{256}, false),
              std::tuple(1U, std::uint64_t{1}, true), std::tuple(1U, std::uint64_t{2}, false),
              std::tuple(2U, std::uint64_t{0}, false), std::tuple(60000U, std::uint64_t{0}, false),
              std::tuple(0U, top, false)}) {
            n.blocks = {{volume, block}};
            CHECK(shipping().take(n).has_value() == good);
        }
        n.blocks.clear();
        n.damage_count = 2;
        CHECK(is_peers_fault(shipping().take(n)));
    }

    TEST_CASE("peer claims: a verify result names ranges that its barrier asked about, each once") {
        verify_questions open;
        verify_entry e;
        e.volume = volume_index{1};
        e.range = {4096, 1 << 20};
        verify_entry f = e;
        f.range.offset = 2 << 20;
        open.asked(interval_id{20}, {e, f});
        const auto result_of = [](std::uint64_t interval, std::uint32_t volume,
                                  std::uint64_t offset, std::uint64_t length) {
            wire::verify_result r;
            r.interval = interval;
            r.items.push_back({volume, offset, length, false});
            return r;
        };
        for (const auto &bad :
             {result_of(19, 1, 4096, 1 << 20), result_of(top, 1, 4096, 1 << 20),
              result_of(20, 0, 4096, 1 << 20), result_of(20, 60000, 4096, 1 << 20),
              result_of(20, 1, 8192, 1 << 20), result_of(20, 1, 4096, 1ULL << 63),
              result_of(20, 1, 4096, 4096)}) {
            CHECK(is_peers_fault(open.answered(bad)));
        }
        wire::verify_result twice = result_of(20, 1, 4096, 1 << 20);
        twice.items.push_back(twice.items.front());
        CHECK(is_peers_fault(open.answered(twice)));
        CHECK(open.answered(
            result_of(20, 1, 4096, 1 << 20))); // nothing was taken by what was refused
        CHECK(is_peers_fault(open.answered(result_of(20, 1, 4096, 1 << 20))));
        open.forget_through(interval_id{20});
        const auto late =
            open.answered(result_of(20, 1, 2 << 20, 1 << 20)); // of the session before
        REQUIRE(late);
        CHECK_FALSE(*late);
    }

    TEST_CASE("peer claims: a scrub asks for one range at a time, inside a volume, of who offered "
              "it") {
        receiver_claims c = shipping();
        wire::compare_request r;
        r.id = 1;
        r.length = limits::MiB;
        CHECK(is_peers_fault(c.may_ask(r, false)));
        for (const auto &[volume, offset, length] :
             {std::tuple(0U, std::uint64_t{0}, limits::MiB + 1),
              std::tuple(0U, limits::MiB, std::uint64_t{1}),
              std::tuple(1U, std::uint64_t{4096}, std::uint64_t{905}),
              std::tuple(2U, std::uint64_t{0}, std::uint64_t{1})}) {
            wire::compare_request beyond;
            beyond.volume = volume;
            beyond.offset = offset;
            beyond.length = length;
            CHECK(is_peers_fault(c.may_ask(beyond, true)));
        }
        REQUIRE(c.may_ask(r, true));
        CHECK(is_peers_fault(c.may_ask(r, true)));
        c.answers({});
        r.volume = 1;
        r.offset = 4096;
        r.length = 904;
        CHECK(c.may_ask(r, true));
    }

    TEST_CASE("peer claims: where a sender's stream may begin") {
        const auto begins = [](stream_id stream, std::uint64_t first, stream_position durable) {
            wire::begin_stream b;
            b.stream = stream.value;
            b.first = first;
            return check_begin_stream(b, durable);
        };
        const stream_position at{older, interval_id{10}};
        CHECK(begins(ours, 11, at));
        CHECK(begins(ours, limits::first_stream_id_max, at));
        for (const std::uint64_t first :
             {std::uint64_t{0}, std::uint64_t{10}, 1 + limits::first_stream_id_max,
              limits::interval_id_max, top}) {
            CHECK(is_peers_fault(begins(ours, first, at)));
        }
        const stream_position high{older, interval_id{limits::first_stream_id_max}};
        CHECK(begins(ours, limits::first_stream_id_max + limits::interval_jump_max, high));
        CHECK(is_peers_fault(
            begins(ours, limits::first_stream_id_max + limits::interval_jump_max + 1, high)));
        CHECK(begins(older, 11, at));
        CHECK(is_peers_fault(begins(older, 12, at)));
        CHECK(begins(ours, 1, {}));
        CHECK(begins(ours, limits::first_stream_id_max, {}));
        CHECK(is_peers_fault(begins(ours, limits::first_stream_id_max + 1, {})));
    }

    TEST_CASE("peer claims: a sender's questions lie in the copy, and near its place") {
        wire::digest_request d;
        d.unit = block_bytes;
        const std::vector<std::uint64_t> sizes{limits::MiB, 5000};
        for (const auto &[range, good] :
             {std::pair(wire::digest_range{0, 0, limits::MiB}, true),
              std::pair(wire::digest_range{0, block_bytes, limits::MiB}, false),
              std::pair(wire::digest_range{1, 4096, 904}, true),
              std::pair(wire::digest_range{1, 4096, 905}, false),
              std::pair(wire::digest_range{1, 8192, 1}, false),
              std::pair(wire::digest_range{2, 0, 1}, false),
              std::pair(wire::digest_range{0, top - 4095, 4096}, false),
              std::pair(wire::digest_range{0xffffffff, 0, 1}, false)}) {
            d.ranges = {range};
            CHECK(check_digest_request(d, sizes).has_value() == good);
        }
        d.ranges.assign(64, {0, 0, limits::MiB});
        CHECK(check_digest_request(d, sizes));
        d.ranges.push_back({1, 0, 1});
        CHECK(is_peers_fault(check_digest_request(d, sizes)));
        wire::loan_request l;
        l.interval = 10 + limits::loan_window;
        CHECK(check_loan_request(l, interval_id{10}));
        for (const std::uint64_t interval :
             {11 + limits::loan_window, limits::interval_id_max, top}) {
            l.interval = interval;
            CHECK(is_peers_fault(check_loan_request(l, interval_id{10})));
        }
        barrier b;
        b.heals = 5 + limits::heals_slack;
        CHECK(check_barrier(b, 5));
        b.heals += 1;
        CHECK(is_peers_fault(check_barrier(b, 5)));
    }

    TEST_CASE("peer claims: which volumes a sender may have made") {
        receiver_group_config allowed;
        allowed.name = "shop";
        allowed.replica = "/srv";
        allowed.volumes_max = 2;
        allowed.size_max = 100;
        const auto says = [&allowed](const std::vector<wire::volume_entry> &wanted,
                                     const char *word) {
            const auto r = check_new_volumes(wanted, allowed);
            return !r && is(r.error(), errc::mismatch) &&
                   r.error().context.find(word) != std::string::npos;
        };
        CHECK(check_new_volumes({{"a", 60}, {"b", 40}}, allowed));
        CHECK(says({{"a", 60}, {"b", 41}}, "size_max"));
        CHECK(says({{"a", 1}, {"b", 1}, {"c", 1}}, "volumes_max"));
        CHECK(says({{"a", 1}, {"a", 1}}, "two volumes"));
        allowed.volumes = {{"b", 400}, {"a", 7}}; // the list is all that counts
        CHECK(check_new_volumes({{"a", 7}, {"b", 400}}, allowed));
        CHECK(says({{"a", 7}}, "names 2 volumes"));
        CHECK(says({{"a", 8}, {"b", 400}}, "8 bytes"));
        CHECK(says({{"a", 7}, {"c", 400}}, "does not name"));
        allowed.volumes.clear();
        allowed.replica.clear();
        allowed.targets = {{"a", "/dev/x"}};
        CHECK(check_new_volumes({{"a", 1}}, allowed));
        CHECK(says({{"b", 1}}, "[group.target]"));
    }

    TEST_CASE(
        "reaction: only storage reopens a copy, only line and peer end a session by themselves") {
        for (const fault f : {fault::unsaid, fault::line, fault::peer}) {
            CHECK(reaction_to(f, false) == reaction::end_session);
            CHECK(reaction_to(f, true) == reaction::end_session);
        }
        CHECK(reaction_to(fault::storage, false) == reaction::reopen_copy);
        CHECK(reaction_to(fault::storage, true) == reaction::await_space);
        CHECK(reaction_to(fault::volume, false) == reaction::keep_pending);
        CHECK(reaction_to(fault::volume, true) == reaction::keep_pending);
    }
}

} // namespace farshore
