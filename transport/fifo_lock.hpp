#pragma once
// A mutex for coroutines of one executor that is given in the order of asking. Safe against
// cancellation and destruction of a coroutine that waits or holds: its place is given up.

#include "replicator/base/async.hpp"

#include <list>
#include <utility>

namespace farshore::transport {

class fifo_lock {
  public:
    /// Holds the lock for its lifetime.
    class guard {
      public:
        guard() = default;
        explicit guard(fifo_lock &lock) : lock_(&lock) {}
        guard(guard &&o) noexcept : lock_(std::exchange(o.lock_, nullptr)) {}
        guard &operator=(guard &&o) noexcept {
            std::swap(lock_, o.lock_);
            return *this;
        }
        ~guard() {
            if (lock_ != nullptr) {
                lock_->pass_on();
            }
        }

      private:
        fifo_lock *lock_ = nullptr;
    };

    fifo_lock() = default;
    fifo_lock(const fifo_lock &) = delete;
    fifo_lock &operator=(const fifo_lock &) = delete;

    /// Returns when the lock is ours. The lock must outlive the guard.
    task<guard> acquire();

  private:
    struct waiter;
    void pass_on();

    bool held_ = false;
    std::list<waiter *> waiters_;
};

} // namespace farshore::transport
