#include "transport/token_bucket.hpp"

#include <doctest/doctest.h>

namespace farshore::transport {
namespace {
using namespace std::chrono_literals;
constexpr time_point start{1h};
} // namespace

TEST_SUITE("token_bucket") {
    TEST_CASE("token_bucket: the burst is 50 ms of the rate, at least 16 KiB, and free at first") {
        CHECK(token_bucket(1'000'000, start).burst_bytes() == 50'000);
        CHECK(token_bucket(1000, start).burst_bytes() == 16 * 1024);
        token_bucket bucket(1'000'000, start);
        CHECK(bucket.take(50'000, start) == 0s);
        CHECK(bucket.take(1000, start) == 1ms);
        CHECK(bucket.take(1000, start + 1ms) == 1ms);
    }

    TEST_CASE("token_bucket: idle time fills the bucket no further than the burst") {
        token_bucket bucket(1'000'000, start);
        bucket.take(50'000, start);
        CHECK(bucket.take(50'000 + 10'000, start + 1h) == 10ms);
    }

    TEST_CASE("token_bucket: debt is priced at the new rate") {
        token_bucket bucket(1'000'000, start);
        CHECK(bucket.take(50'000 + 1'000'000, start) == 1s);
        bucket.set_rate(10'000'000, start);
        CHECK(bucket.debt(start) == 100ms);
        bucket.set_rate(std::nullopt, start);
        CHECK(bucket.debt(start) == 0s);
        CHECK(bucket.take(1'000'000'000, start) == 0s);
        bucket.set_rate(1'000'000, start + 1s);
        CHECK(bucket.take(51'000, start + 1s) == 1ms);
    }

    TEST_CASE("token_bucket: a charge delays by no more than its bound, and never forgives debt") {
        token_bucket bucket(1'000'000, start);
        bucket.charge(1'000'000'000, start, 1s);
        CHECK(bucket.debt(start) == 1s);
        CHECK(bucket.take(2'000'000, start) == 3s);
        bucket.charge(1, start, 1s);
        CHECK(bucket.debt(start) == 3s);
    }

    TEST_CASE("token_bucket: time that goes back gives nothing, and a rate of 0 counts as 1") {
        token_bucket bucket(1'000'000, start);
        bucket.take(50'000, start);
        CHECK(bucket.take(1000, start - 1s) == 1ms);
        token_bucket slow(0, start);
        CHECK(slow.rate() == 1);
        CHECK(slow.take(1ULL << 60, start) == 24h);
    }
}

} // namespace farshore::transport
