#include "replicator/session/handshake.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

constexpr wire::id16 copy_a{std::byte{1}};
constexpr wire::id16 copy_b{std::byte{2}};

sender_facts streaming_facts() {
    sender_facts f;
    f.recording = true;
    f.stream = stream_id{7};
    f.first_held = interval_id{11};
    f.acked_in_stream = true;
    f.acknowledged = {stream_id{7}, interval_id{10}};
    f.receiver = copy_a;
    f.last_used = interval_id{20};
    f.begun = stream_id{7};
    f.sent = interval_id{20};
    f.exact = true;
    return f;
}

wire::welcome at(std::uint64_t stream, std::uint64_t interval) {
    wire::welcome w;
    w.receiver = copy_a;
    w.durable = {stream_id{stream}, interval_id{interval}};
    return w;
}

} // namespace

TEST_SUITE("session") {
    TEST_CASE("handshake: the stream goes on after the receiver's position, in the middle of an "
              "interval if it has frames") {
        auto theirs = at(7, 12);
        auto plan = plan_session(streaming_facts(), theirs);
        CHECK(plan.decision == sender_decision::resume);
        CHECK(plan.from == interval_id{13});
        CHECK(plan.index == 0);
        theirs.partial = {stream_id{7}, interval_id{13}};
        theirs.partial_index = 5;
        plan = plan_session(streaming_facts(), theirs);
        CHECK(plan.index == 5);
        theirs.partial = {stream_id{8}, interval_id{13}};
        CHECK(plan_session(streaming_facts(), theirs).index == 0);
    }

    TEST_CASE("handshake: a copy that is another one or older than what it acknowledged is "
              "compared as a whole") {
        auto theirs = at(7, 12);
        theirs.receiver = copy_b;
        CHECK(plan_session(streaming_facts(), theirs).decision == sender_decision::compare_all);
        CHECK(plan_session(streaming_facts(), at(7, 9)).decision == sender_decision::compare_all);
        CHECK(plan_session(streaming_facts(), at(7, 10)).decision == sender_decision::resume);
        CHECK(plan_session(streaming_facts(), at(6, 9)).decision == sender_decision::compare_all);
    }

    TEST_CASE("handshake: a copy that is ahead of what is remembered here is compared where it "
              "changed since") {
        auto mine = streaming_facts();
        auto plan = plan_session(
            mine, at(7, 21)); // one more than was ever sent: this side was put back while it ran
        CHECK(plan.decision == sender_decision::compare_changed);
        CHECK(plan.put_back);
        CHECK(plan.first == interval_id{22});
        CHECK(plan_session(mine, at(7, 20)).decision == sender_decision::resume);
        plan = plan_session(
            mine,
            at(8, 15)); // a stream that was not begun here: a clone ran, or state was put back
        CHECK(plan.decision == sender_decision::compare_changed);
        CHECK(plan.put_back);
        CHECK(plan_session(mine, at(8, 10)).decision ==
              sender_decision::compare_changed); // the same id says nothing
        mine.recording = false;
        CHECK(plan_session(mine, at(7, 20)).decision ==
              sender_decision::catch_up); // what a kill leaves
        mine.exact = false;               // a power cut
        plan = plan_session(mine, at(7, 20));
        CHECK(plan.decision == sender_decision::compare_changed);
        CHECK_FALSE(plan.put_back);
        CHECK(plan_session(mine, at(7, 10)).decision ==
              sender_decision::catch_up); // nothing came after it
        auto damaged = at(8, 15);
        damaged.damaged = true;
        damaged.damage_count = 1;
        CHECK(plan_session(mine, damaged).decision == sender_decision::compare_all);
        damaged.damage_count = mine.damage_known;
        CHECK(plan_session(mine, damaged).decision == sender_decision::compare_changed);
    }

    TEST_CASE("handshake: damage is compared as a whole unless its blocks are known here") {
        auto theirs = at(7, 12);
        theirs.damaged = true;
        theirs.damage_count = 3;
        auto mine = streaming_facts();
        mine.damage_known = 2;
        CHECK(plan_session(mine, theirs).decision == sender_decision::compare_all);
        mine.damage_known = 3;
        CHECK(plan_session(mine, theirs).decision == sender_decision::catch_up);
        theirs.damaged = false; // healed before
        mine.damage_known = 0;
        CHECK(plan_session(mine, theirs).decision == sender_decision::resume);
    }

    TEST_CASE("handshake: a stream of which nothing arrived begins again, else a catch-up begins") {
        auto mine = streaming_facts();
        mine.acked_in_stream = false;
        mine.acknowledged = {stream_id{6}, interval_id{10}};
        auto plan = plan_session(mine, at(6, 10));
        CHECK(plan.decision == sender_decision::restart);
        CHECK(plan.from == interval_id{11});
        mine.acked_in_stream =
            true; // something of it was acknowledged, yet the receiver is in another stream
        CHECK(plan_session(mine, at(6, 10)).decision == sender_decision::catch_up);
        mine.recording = false;
        CHECK(plan_session(mine, at(6, 10)).decision == sender_decision::catch_up);
        mine = streaming_facts();
        mine.first_held = interval_id{15}; // a gap after the receiver's 12
        CHECK(plan_session(mine, at(7, 12)).decision == sender_decision::catch_up);
    }

    TEST_CASE("handshake: a first copy and a restart are not told as if order had been lost") {
        sender_facts mine;
        CHECK(std::string(plan_session(mine, at(0, 0)).reason) == "the first copy is made");
        mine.receiver = copy_a;
        mine.acknowledged = {stream_id{7}, interval_id{12}};
        CHECK(std::string(plan_session(mine, at(7, 12)).reason) ==
              "only which regions changed is known; they are compared");
    }

    TEST_CASE("handshake: a new stream's ids lie above everything either side ever used") {
        auto mine = streaming_facts();
        mine.recording = false;
        auto theirs = at(7, 12);
        CHECK(plan_session(mine, theirs).first == interval_id{21});
        theirs.durable.interval = interval_id{40};
        theirs.partial.interval = interval_id{41};
        CHECK(plan_session(mine, theirs).first == interval_id{42});
    }

    TEST_CASE(
        "handshake: over all combinations of facts, only a provably unbroken stream is resumed") {
        int resumed = 0;
        for (unsigned bits = 0; bits < 512; ++bits) {
            const auto bit = [bits](unsigned n) { return (bits >> n & 1U) != 0; };
            auto mine = streaming_facts();
            auto theirs = at(bit(0) ? 7 : 6, bit(1) ? 12 : 8);
            theirs.receiver = bit(2) ? copy_a : copy_b;
            theirs.damaged = bit(3);
            theirs.damage_count = 1;
            mine.damage_known = bit(4) ? 1 : 0;
            mine.recording = bit(5);
            mine.acked_in_stream = bit(6);
            mine.first_held = bit(7) ? std::optional(interval_id{11}) : std::nullopt;
            mine.acknowledged.interval = interval_id{bit(8) ? 10U : 0U};
            const auto plan = plan_session(mine, theirs);
            const bool older = theirs.durable.interval < mine.acknowledged.interval;
            const bool may_go_on = bit(2) && !bit(3) && bit(5) && bit(7) && !older;
            if (plan.decision == sender_decision::resume) {
                ++resumed;
                CHECK((may_go_on && bit(0) && *mine.first_held <= next(theirs.durable.interval)));
                CHECK(theirs.durable.stream == mine.begun);
            }
            if (plan.decision == sender_decision::restart) {
                CHECK((may_go_on && theirs.durable == mine.acknowledged && !bit(6)));
            }
            if (!bit(2) || older) {
                CHECK(plan.decision == sender_decision::compare_all);
            }
            CHECK(plan.first > theirs.durable.interval);
        }
        CHECK(resumed > 0);
    }

    TEST_CASE("handshake: the receiver refuses with the reason, first match wins") {
        receiver_facts mine;
        wire::hello hello;
        hello.group = "shop";
        hello.volumes = {{"data", 4096}};
        hello.instance = 5;
        const auto code = [&] { return judge_hello(mine, hello).code; };
        CHECK(code() == wire::refusal_code::not_paired);
        mine.group_configured = true;
        CHECK(code() == wire::refusal_code::not_paired);
        mine.pinned = true;
        CHECK(judge_hello(mine, hello).accept);
        CHECK(judge_hello(mine, hello).creates_copy);
        mine.has_copy = true;
        mine.volumes = {{"data", 8192}};
        CHECK(code() == wire::refusal_code::volumes);
        CHECK(judge_hello(mine, hello).text.find("8192") != std::string::npos);
        mine.volumes = hello.volumes;
        mine.session_alive = true;
        mine.session_instance = 6;
        CHECK(code() == wire::refusal_code::busy);
        mine.session_instance = 5;
        CHECK(judge_hello(mine, hello).replaces_session);
        mine.failed = true;
        CHECK(code() == wire::refusal_code::failed);
        hello.features_required = 1ULL << 40;
        CHECK(code() == wire::refusal_code::version);
        hello.features_required = 0;
        hello.version_min = 2;
        hello.version_max = 3;
        CHECK(code() == wire::refusal_code::version);
    }
}

} // namespace farshore
