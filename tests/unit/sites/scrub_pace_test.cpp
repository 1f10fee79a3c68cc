// When a scrub reads, and how fast.

#include "replicator/receiver/scrub_pace.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

using std::chrono::hours;

constexpr wall_time at(int hour) { return wall_time(hours(500'000 + hour)); }

TEST_SUITE_BEGIN("sites");

TEST_CASE("scrub pace: as fast as the period asks for, within bounds") {
    constexpr duration week = hours(24 * 7);
    CHECK(scrub_rate(0, week) == scrub_rate_min);
    CHECK(scrub_rate(100 * limits::GiB, week) == scrub_rate_min);
    const std::uint64_t large = 10'000 * limits::GiB;
    CHECK(scrub_rate(large, week) > 17 * limits::MiB);
    CHECK(large / scrub_rate(large, week) < 7 * 24 * 3600); // there is time left
    CHECK(large / scrub_rate(large, week) > 7 * 24 * 3600 * 3 / 4);
    CHECK(scrub_rate(~std::uint64_t{0} / 2, week) == scrub_rate_max);
    CHECK(scrub_rate(limits::GiB, duration(1)) == scrub_rate_max);
}

TEST_CASE("scrub pace: due once a period, at once when one was cut short or there was none") {
    const duration week = hours(24 * 7);
    CHECK_FALSE(scrub_due_in({}, week, at(0)));
    CHECK_FALSE(scrub_due_in({.began = at(0), .under_way = true}, week, at(1)));
    const scrub_record last{.began = at(0), .finished = at(5)};
    CHECK(scrub_due_in(last, week, at(0)) == week);
    CHECK(scrub_due_in(last, week, at(24 * 7 - 1)) == duration(hours(1)));
    CHECK_FALSE(scrub_due_in(last, week, at(24 * 7)));
    CHECK_FALSE(scrub_due_in(last, week, at(-1))); // a clock that went back
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
