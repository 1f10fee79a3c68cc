#include "replicator/roles/shipment.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>
#include <utility>

namespace farshore {
namespace {

stream_position barrier_at(std::uint64_t stream, std::uint64_t id) {
    return {stream_id{stream}, interval_id{id}};
}

barrier_stretch stretch(std::uint64_t stream, std::uint64_t first, std::uint64_t last) {
    return {stream_id{stream}, interval_id{first}, interval_id{last}};
}

using barrier_name = std::pair<std::uint64_t, std::uint64_t>; // id, stream

/// Every barrier by itself.
std::set<barrier_name> all_of(const counting_claim &c) {
    std::set<barrier_name> all{{c.common.interval.value, c.common.stream.value}};
    std::set<barrier_name> kept;
    for (const barrier_stretch &s : c.history) {
        for (std::uint64_t id = s.first.value; id <= s.last.value; ++id) {
            kept.emplace(id, s.stream.value);
        }
    }
    if (!kept.empty() && *kept.rbegin() == *all.begin()) {
        all.insert(kept.begin(), kept.end());
    }
    return all;
}

std::optional<stream_position> slowly(const counting_claim &a, const counting_claim &b) {
    const auto theirs = all_of(b);
    std::optional<stream_position> newest;
    for (const auto &[id, stream] : all_of(a)) {
        if (theirs.contains({id, stream})) {
            newest = barrier_at(stream, id);
        }
    }
    return newest;
}

} // namespace

TEST_SUITE("shipment") {
    TEST_CASE("both know the same barrier to be common") {
        CHECK(counted_from({barrier_at(1, 9), {}}, {barrier_at(1, 9), {}}) == barrier_at(1, 9));
    }

    TEST_CASE("a site that crashed remembers an older one, and the other's history has it") {
        const counting_claim crashed{barrier_at(1, 5), {}};
        CHECK(counted_from(crashed, {barrier_at(1, 9), {stretch(1, 2, 9)}}) == barrier_at(1, 5));
        CHECK_FALSE(counted_from(crashed, {barrier_at(1, 9), {stretch(1, 6, 9)}}));
        CHECK_FALSE(counted_from(crashed, {barrier_at(1, 9), {}}));
    }

    TEST_CASE("a history that does not lead up to what is common says nothing") {
        const counting_claim other{barrier_at(1, 4), {}};
        CHECK_FALSE(counted_from(other, {barrier_at(1, 9), {stretch(1, 2, 8)}}));
        CHECK_FALSE(counted_from(other, {barrier_at(2, 9), {stretch(1, 2, 9)}}));
    }

    TEST_CASE("a barrier is its stream and its id: after a put-back the same id is another one") {
        CHECK_FALSE(counted_from({barrier_at(1, 9), {stretch(1, 7, 9)}},
                                 {barrier_at(2, 9), {stretch(2, 7, 9)}}));
        CHECK(counted_from({barrier_at(3, 20), {stretch(1, 3, 9), stretch(3, 15, 20)}},
                           {barrier_at(2, 14), {stretch(1, 5, 8), stretch(2, 10, 14)}}) ==
              barrier_at(1, 8));
    }

    TEST_CASE("as barrier by barrier, for any two histories") {
        std::mt19937_64 dice(7);
        std::uint64_t found = 0;
        for (int round = 0; round < 20'000; ++round) {
            const auto any = [&] {
                counting_claim c;
                std::uint64_t id = dice() % 3;
                for (std::uint64_t left = dice() % 4; left > 0; --left) {
                    const std::uint64_t first = id + 1 + dice() % 3;
                    id = first + dice() % 4;
                    c.history.push_back(stretch(1 + dice() % 3, first, id));
                }
                c.common = c.history.empty() || dice() % 4 == 0
                               ? barrier_at(1 + dice() % 3, 1 + dice() % 16)
                               : stream_position{c.history.back().stream, c.history.back().last};
                return c;
            };
            const counting_claim a = any();
            const counting_claim b = any();
            const auto base = counted_from(a, b);
            found += base ? 1 : 0;
            REQUIRE(base == slowly(a, b));
            REQUIRE(base == counted_from(b, a));
        }
        CHECK(found > 2'000);
        CHECK(found < 18'000);
    }
}

} // namespace farshore
