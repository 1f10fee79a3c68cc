#pragma once
// The throttle: links wait here before bytes go to a socket. One pacer a group and one a daemon; a
// link holds those that apply to it. A change of rate wakes the waiters, so it takes hold within
// 1 s whatever debt was there (waits are cut into slices of at most 200 ms). Single-threaded on the
// network executor.

#include "replicator/base/async.hpp"
#include "transport/fifo_lock.hpp"
#include "transport/token_bucket.hpp"
#include "transport/wait_list.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace farshore::transport {

class pacer {
  public:
    /// Unlimited until set_rate().
    explicit pacer(time_source &time);
    void set_rate(std::optional<std::uint64_t> bytes_per_second);
    std::optional<std::uint64_t> rate() const { return bucket_.rate(); }
    /// Returns when `bytes` may be sent. First come, first served. The pacer must outlive the wait.
    /// A coroutine that is cancelled while it waits has used up its share.
    task<void> acquire(std::uint64_t bytes);
    /// Accounts for bytes received (they count on the wire too) without waiting. However many they
    /// are, they hold up later sends by at most 1 s.
    void note(std::uint64_t bytes);

  private:
    time_source &time_;
    token_bucket bucket_;
    fifo_lock turn_;
    wait_list changed_;
};

using pacers = std::vector<std::shared_ptr<pacer>>;

} // namespace farshore::transport
