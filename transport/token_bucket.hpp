#pragma once
// Token bucket arithmetic, apart from waiting: pure functions of values and time (own; the classic
// algorithm). Bytes count as granted when the wait that their take() returned is over. Over any
// span t the bytes granted are then at most rate * t + the burst, or + the largest single take
// where that is more.

#include "replicator/base/clock.hpp"

#include <cstdint>
#include <optional>

namespace farshore::transport {

class token_bucket {
  public:
    /// `rate` bytes per second, absent: unlimited; 0 counts as 1. The burst is what the rate gives
    /// in 50 ms, at least 16 KiB.
    token_bucket(std::optional<std::uint64_t> rate, time_point now);

    /// Takes `bytes` (which may exceed the burst: the bucket goes into debt) and returns how long
    /// the caller must wait before it sends them. Zero when unlimited.
    duration take(std::uint64_t bytes, time_point now);
    /// Takes bytes that were carried without asking. They delay later ones, together by at most
    /// `delay_max`, however many they were.
    void charge(std::uint64_t bytes, time_point now, duration delay_max);
    /// How long until the bucket is out of debt.
    duration debt(time_point now);
    /// A change takes hold for the next take; debt is re-priced at the new rate.
    void set_rate(std::optional<std::uint64_t> rate, time_point now);
    std::optional<std::uint64_t> rate() const { return rate_; }
    /// 0 when unlimited.
    std::uint64_t burst_bytes() const;

  private:
    void refill(time_point now);

    std::optional<std::uint64_t> rate_;
    double tokens_ = 0; ///< bytes; negative: debt
    time_point last_;
};

} // namespace farshore::transport
