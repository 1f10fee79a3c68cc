#include "transport/token_bucket.hpp"

#include <algorithm>
#include <cmath>

namespace farshore::transport {
namespace {

constexpr std::uint64_t burst_bytes_min = 16 * 1024;
constexpr std::uint64_t bursts_per_second = 20; // 50 ms

/// A wait is never longer than this, so that a tiny rate with a large debt stays within the clock.
constexpr double wait_seconds_max = 24 * 3600;

std::optional<std::uint64_t> at_least_one(std::optional<std::uint64_t> rate) {
    return rate ? std::optional(std::max<std::uint64_t>(*rate, 1)) : rate;
}

} // namespace

token_bucket::token_bucket(std::optional<std::uint64_t> rate, time_point now)
    : rate_(at_least_one(rate)), tokens_(static_cast<double>(burst_bytes())), last_(now) {}

std::uint64_t token_bucket::burst_bytes() const {
    return rate_ ? std::max(burst_bytes_min, *rate_ / bursts_per_second) : 0;
}

void token_bucket::refill(time_point now) {
    if (now <= last_) {
        return;
    }
    if (rate_) {
        tokens_ = std::min(static_cast<double>(burst_bytes()),
                           tokens_ + seconds_of(now - last_) * static_cast<double>(*rate_));
    }
    last_ = now;
}

duration token_bucket::take(std::uint64_t bytes, time_point now) {
    refill(now);
    if (rate_) {
        tokens_ -= static_cast<double>(bytes);
    }
    return debt(now);
}

void token_bucket::charge(std::uint64_t bytes, time_point now, duration delay_max) {
    refill(now);
    if (rate_) {
        const double floor = -seconds_of(delay_max) * static_cast<double>(*rate_);
        tokens_ = std::max(tokens_ - static_cast<double>(bytes), std::min(tokens_, floor));
    }
}

duration token_bucket::debt(time_point now) {
    refill(now);
    if (!rate_ || tokens_ >= 0) {
        return duration::zero();
    }
    const double seconds = std::min(-tokens_ / static_cast<double>(*rate_), wait_seconds_max);
    // Rounded up: a wait that is short by a fraction would end still in debt.
    return duration(static_cast<std::int64_t>(std::ceil(seconds * 1e9)));
}

void token_bucket::set_rate(std::optional<std::uint64_t> rate, time_point now) {
    refill(now);
    const bool was_unlimited = !rate_;
    rate_ = at_least_one(rate);
    const double burst = static_cast<double>(burst_bytes());
    tokens_ = was_unlimited || !rate_ ? burst : std::min(tokens_, burst);
}

} // namespace farshore::transport
