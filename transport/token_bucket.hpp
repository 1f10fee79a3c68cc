#pragma once
// Token bucket arithmetic, apart from waiting: pure functions of values and time (own; the classic
// algorithm). Over any span t the bytes granted are at most rate * t + burst.

#include "replicator/base/clock.hpp"

#include <cstdint>
#include <optional>

namespace farshore::transport {

class token_bucket {
  public:
    /// `rate` bytes per second, absent: unlimited. The burst is what the rate gives in 50 ms, at least
    /// 16 KiB.
    token_bucket(std::optional<std::uint64_t> rate, time_point now);

    /// Takes `bytes` (which may exceed the burst: the bucket goes into debt) and returns how long the
    /// caller must wait before it sends them. Zero when unlimited.
    duration take(std::uint64_t bytes, time_point now);
    /// A change takes hold for the next take; debt is re-priced at the new rate.
    void set_rate(std::optional<std::uint64_t> rate, time_point now);
    std::optional<std::uint64_t> rate() const { return rate_; }

  private:
    std::optional<std::uint64_t> rate_;
    double tokens_ = 0; ///< bytes; negative: debt
    time_point last_;
};

} // namespace farshore::transport
