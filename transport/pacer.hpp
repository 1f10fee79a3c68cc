#pragma once
// The throttle: links wait here before bytes go to a socket. One pacer a group and one a daemon; a
// link holds those that apply to it. A change of rate wakes the waiters, so it takes hold within
// 1 s whatever debt was there (waits are cut into slices of at most 200 ms). Single-threaded on the
// network executor.

#include "replicator/base/async.hpp"
#include "transport/token_bucket.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace farshore::transport {

class pacer {
  public:
    explicit pacer(time_source &time);
    void set_rate(std::optional<std::uint64_t> bytes_per_second);
    std::optional<std::uint64_t> rate() const;
    /// Returns when `bytes` may be sent. First come, first served.
    task<void> acquire(std::uint64_t bytes);
    /// Accounts for bytes received (they count on the wire too) without waiting.
    void note(std::uint64_t bytes);

  private:
    time_source &time_;
    token_bucket bucket_;
    condition changed_;
};

using pacers = std::vector<std::shared_ptr<pacer>>;

} // namespace farshore::transport
