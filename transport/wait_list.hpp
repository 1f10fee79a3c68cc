#pragma once
// Waiting for a change, as base's condition does, with one difference: a waiter leaves the list
// when its coroutine is destroyed, not only when it resumes. A link may be closed by one
// coroutine's destruction while others still wait on it (an io_context that goes away); notifying
// must be safe then.
//
// Single-threaded: all calls on the owner's executor. The list must outlive its waiters'
// coroutines.

#include "replicator/base/async.hpp"

#include <list>

namespace farshore::transport {

class wait_list {
  public:
    wait_list() = default;
    wait_list(const wait_list &) = delete;
    wait_list &operator=(const wait_list &) = delete;

    /// Returns at the next notify_all(), or earlier when the coroutine is cancelled.
    task<void> wait();
    /// Returns true on notify, false when the deadline passed first.
    task<bool> wait_until(time_source &time, time_point deadline);
    void notify_all();

  private:
    struct waiter;
    std::list<waiter *> waiters_;
};

} // namespace farshore::transport
