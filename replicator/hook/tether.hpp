#pragma once
// What ties the worker of a freeze to its guard while it waits for an application: every wait ends
// at a deadline, and at once when the guard says anything or is gone. So no library call of a hook
// waits by itself; all of them give their file descriptor to wait().
//
// Thread: the worker's only one; the guard's when it releases by force.

#include "replicator/base/error.hpp"

#include <chrono>
#include <functional>
#include <string>

namespace farshore::hook {

class tether {
  public:
    using clock = std::chrono::steady_clock;
    /// Without a guard: a release that nobody calls back.
    explicit tether(std::chrono::milliseconds patience);
    /// `channel` stays the caller's and open.
    tether(int channel, clock::time_point end);

    /// Until `fd` has one of `events` (poll's), which are returned with POLLERR and POLLHUP.
    /// errc::timeout, errc::cancelled: the guard wants the application released now.
    result<short> wait(int fd, short events) const;
    /// Likewise, for at most `most`; 0 events: that time is over.
    result<short> wait(int fd, short events, std::chrono::milliseconds most) const;
    /// Nothing but time; only for what can't be waited for.
    result<> sleep(std::chrono::milliseconds time) const;
    /// Time is left and the guard wants nothing.
    result<> check() const;
    std::chrono::milliseconds left() const;

    /// Tells the guard that from now on something may be frozen, and what a release by force needs
    /// to know. Called just before the call that freezes; later calls replace the trace.
    result<> arm(std::string trace);
    /// When arm() was called first.
    clock::time_point armed_at() const { return armed_at_; }
    bool armed() const { return armed_at_ != clock::time_point{}; }

  private:
    int channel_ = -1;
    clock::time_point end_;
    clock::time_point armed_at_{};
};

} // namespace farshore::hook
