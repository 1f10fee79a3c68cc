// The throttle's promise: over any span the bytes granted are at most rate x time + burst, whatever
// the sizes and the pauses; and it does not grant needlessly less.

#include "transport/token_bucket.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace farshore::transport {
namespace {

using namespace std::chrono_literals;

/// FARSHORE_SEED replays one seed; otherwise 300 of them.
std::pair<std::uint64_t, std::uint64_t> seeds() {
    const char *one = std::getenv("FARSHORE_SEED");
    const std::uint64_t first = one != nullptr ? std::stoull(one) : 1;
    return {first, one != nullptr ? first : 300};
}

struct grant {
    time_point at;
    std::uint64_t bytes;
};

/// A sender as pacer has it: takes, waits, sends, and sometimes pauses.
std::vector<grant> send_for(token_bucket &bucket, time_point start, duration span,
                            std::uint64_t bytes_max, bool pauses, std::mt19937_64 &random) {
    std::vector<grant> grants;
    time_point now = start;
    while (now < start + span) {
        const std::uint64_t bytes = 1 + random() % bytes_max;
        now += bucket.take(bytes, now);
        grants.push_back({now, bytes});
        if (pauses && random() % 4 == 0) {
            now += std::chrono::microseconds(random() % 300'000);
        }
    }
    return grants;
}

/// The largest excess over rate x time of any span that begins and ends with a grant.
double worst_excess(const std::vector<grant> &grants, double rate) {
    double worst = 0; // Kadane: the best span that ends here
    double ending_here = 0;
    for (std::size_t i = 0; i < grants.size(); ++i) {
        const double idle = i == 0 ? 0 : seconds_of(grants[i].at - grants[i - 1].at) * rate;
        ending_here = std::max(ending_here - idle, 0.0) + static_cast<double>(grants[i].bytes);
        worst = std::max(worst, ending_here);
    }
    return worst;
}

} // namespace

TEST_SUITE("token_bucket") {
    TEST_CASE("token_bucket: never grants more than rate x time + burst over any span") {
        const auto [first, last] = seeds();
        for (std::uint64_t seed = first; seed <= last; ++seed) {
            CAPTURE(seed);
            std::mt19937_64 random(seed);
            const std::uint64_t rate = 1000 + random() % 200'000'000;
            const time_point start{std::chrono::hours(random() % 1000)};
            token_bucket bucket(rate, start);
            const bool small = random() % 2 == 0;
            const std::uint64_t bytes_max = small ? bucket.burst_bytes() : 2 * 1024 * 1024;
            const auto grants = send_for(bucket, start, 20s, bytes_max, true, random);
            const double bound =
                static_cast<double>(std::max(bucket.burst_bytes(), small ? 0 : bytes_max));
            CHECK(worst_excess(grants, static_cast<double>(rate)) <= bound + 1);
        }
    }

    TEST_CASE("token_bucket: a sender that always has something gets the whole rate") {
        const auto [first, last] = seeds();
        for (std::uint64_t seed = first; seed <= last; ++seed) {
            CAPTURE(seed);
            std::mt19937_64 random(seed);
            const std::uint64_t rate = 100'000 + random() % 200'000'000;
            const time_point start{1h};
            token_bucket bucket(rate, start);
            const auto grants = send_for(bucket, start, 10s, 64 * 1024, false, random);
            double sum = 0;
            for (const grant &g : grants) {
                sum += static_cast<double>(g.bytes);
            }
            CHECK(sum >= static_cast<double>(rate) * seconds_of(grants.back().at - start) * 0.999);
        }
    }

    TEST_CASE(
        "token_bucket: changes of rate keep the bound of the highest rate, and debt is re-priced") {
        const auto [first, last] = seeds();
        for (std::uint64_t seed = first; seed <= last; ++seed) {
            CAPTURE(seed);
            std::mt19937_64 random(seed);
            const std::uint64_t high = 10'000'000 + random() % 100'000'000;
            time_point now{1h};
            token_bucket bucket(high, now);
            std::vector<grant> grants;
            for (int step = 0; step < 50; ++step) {
                bucket.set_rate(high / (1 + random() % 20), now);
                auto more = send_for(bucket, now, 200ms, 16 * 1024, false, random);
                now = more.back().at;
                grants.insert(grants.end(), more.begin(), more.end());
            }
            const double bound = static_cast<double>(std::max<std::uint64_t>(16 * 1024, high / 20));
            CHECK(worst_excess(grants, static_cast<double>(high)) <= bound + 1);
        }
    }
}

} // namespace farshore::transport
