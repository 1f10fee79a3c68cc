#include "transport/guest_policy.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace farshore;
using namespace farshore::transport;
using namespace std::chrono_literals;

namespace {

constexpr time_point start{};
constexpr duration patience = 2s;

guest_facts stranger(const std::string &source, duration since = {}) {
    return {source, false, false, start + since};
}
guest_facts peer(const std::string &source, duration since = {}) {
    return {source, true, false, start + since};
}

std::vector<guest_facts> many(std::size_t count, bool known = false) {
    std::vector<guest_facts> out;
    for (std::size_t i = 0; i < count; ++i) {
        out.push_back(stranger("198.51.100." + std::to_string(i), i * 1ms));
        out.back().known = known;
    }
    return out;
}

} // namespace

TEST_SUITE("guest policy") {
    TEST_CASE("guest policy: sources are IPv4 addresses and IPv6 networks") {
        CHECK(source_of("192.0.2.7") == "192.0.2.7");
        CHECK(source_of("::ffff:192.0.2.7") == "192.0.2.7");
        CHECK(source_of("2001:db8:1:2:3:4:5:6") == source_of("2001:db8:1:2:ffff::1"));
        CHECK(source_of("2001:db8:1:2::1") == source_of("2001:db8:1:2:ffff::1"));
        CHECK(source_of("2001:db8:1:2::1") != source_of("2001:db8:1:3::1"));
    }

    TEST_CASE("guest policy: the newest that had time to speak leaves a full lobby") {
        auto silent = many(lobby_max - 1);
        CHECK_FALSE(leaves_lobby(silent, start + 1min));
        silent.push_back(stranger("203.0.113.1", 1min));
        CHECK(leaves_lobby(silent, start + 1min) ==
              lobby_max - 2); // the newcomer has not had its time
        CHECK(leaves_lobby(silent, start + 1min + speak_within) == lobby_max - 1);
        CHECK(leaves_lobby(silent, start) == 0); // nobody has
        silent = many(lobby_max, true);
        CHECK_FALSE(leaves_lobby(silent, start + 1min)); // paired peers never
    }

    TEST_CASE("guest policy: a source has a share of the places, a paired peer's has not") {
        std::vector<guest_facts> guests(source_places_max, stranger("192.0.2.1"));
        CHECK_FALSE(judge_place(guests, stranger("192.0.2.1"), false, start, patience).enter);
        CHECK(judge_place(guests, stranger("192.0.2.1"), false, start + patience, patience)
                  .gives_way == 0);
        CHECK(judge_place(guests, stranger("192.0.2.2"), false, start, patience).enter);
        CHECK(judge_place(guests, peer("192.0.2.1"), false, start, patience).enter);
    }

    TEST_CASE(
        "guest policy: places that are all taken: a peer's first, a stranger's after patience") {
        auto guests = many(limits::sessions_unauthenticated_max);
        const auto last = guests.size() - 1;
        CHECK_FALSE(judge_place(guests, stranger("192.0.2.1"), false, start, patience).gives_way);
        CHECK(judge_place(guests, stranger("192.0.2.1"), false, start + 3s, patience).gives_way ==
              0);
        CHECK(judge_place(guests, peer("192.0.2.1"), false, start, patience).gives_way ==
              last); // at once
        guests[last].leaving = true;
        const auto verdict = judge_place(guests, peer("192.0.2.1"), false, start, patience);
        CHECK_FALSE(verdict.enter);
        CHECK_FALSE(verdict.gives_way); // one leaves already
        guests.pop_back();
        CHECK(judge_place(guests, peer("192.0.2.1"), true, start, patience).enter);
        CHECK_FALSE(judge_place(guests, stranger("192.0.2.1"), true, start, patience)
                        .enter); // not before a peer
        guests = many(limits::sessions_unauthenticated_max, true);
        CHECK_FALSE(
            judge_place(guests, stranger("192.0.2.1"), false, start + 3s, patience).gives_way);
        CHECK(judge_place(guests, peer("192.0.2.1"), false, start + 3s, patience).gives_way == 0);
    }
}
