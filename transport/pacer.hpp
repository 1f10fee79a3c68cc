#pragma once
// The throttle: links wait here before bytes go to a socket. One pacer a group and one a daemon; a
// link holds those that apply to it. Tenants (groups, in the daemon's) take turns, whoever was
// served longest ago first, so that one with many links gets no more than one with few; within a
// tenant, first come, first served. A change of rate wakes the waiters, so it takes hold within 1 s
// whatever debt was there (waits are cut into slices of at most 200 ms). Single-threaded on the
// network executor.

#include "replicator/base/async.hpp"
#include "transport/token_bucket.hpp"

#include <functional>
#include <list>
#include <map>
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
    /// Returns true when `bytes` may be sent. `tenant`: whose turn it uses. `abandoned` is asked
    /// again at each wake(): once it holds, acquire returns false. The pacer must outlive the wait.
    /// A share that was begun and abandoned is used up.
    task<bool> acquire(std::uint64_t bytes, std::function<bool()> abandoned = {},
                       const void *tenant = nullptr);
    /// Lets all waiters look at their `abandoned`.
    void wake() { changed_.notify_all(); }
    /// Accounts for bytes received (they count on the wire too) without waiting. However many they
    /// are, they hold up later sends by at most 1 s.
    void note(std::uint64_t bytes);

  private:
    class place;
    void serve_next();

    time_source &time_;
    token_bucket bucket_;
    condition changed_;
    std::list<place *> queue_;      ///< in the order of asking
    const place *served_ = nullptr; ///< this one pays, the others wait
    std::map<const void *, std::uint64_t>
        turns_; ///< of tenants: when each was served last; forgotten when idle
    std::uint64_t turn_ = 0;
};

using pacers = std::vector<std::shared_ptr<pacer>>;

} // namespace farshore::transport
