#include "transport/fifo_lock.hpp"

namespace farshore::transport {

struct fifo_lock::waiter {
    waiter(fifo_lock &owner, executor ex)
        : timer(std::move(ex), asio::steady_timer::time_point::max()), lock(owner) {
        lock.waiters_.push_back(this);
    }
    ~waiter() {
        if (!granted) {
            lock.waiters_.remove(this);
        } else if (!claimed) {
            lock.pass_on(); // given to a coroutine that no longer exists
        }
    }
    waiter(const waiter &) = delete;
    waiter &operator=(const waiter &) = delete;

    asio::steady_timer timer;
    fifo_lock &lock;
    bool granted = false;
    bool claimed = false;
};

task<fifo_lock::guard> fifo_lock::acquire() {
    if (!held_) {
        held_ = true;
        co_return guard(*this);
    }
    waiter self(*this, co_await asio::this_coro::executor);
    while (!self.granted) {
        co_await self.timer.async_wait(as_result); // throws in the second round if cancelled
    }
    self.claimed = true;
    co_return guard(*this);
}

void fifo_lock::pass_on() {
    if (waiters_.empty()) {
        held_ = false;
        return;
    }
    waiter *next = waiters_.front();
    waiters_.pop_front();
    next->granted = true; // the lock stays held: nobody can slip in before it resumes
    next->timer.cancel();
}

} // namespace farshore::transport
