#include "transport/wait_list.hpp"

namespace farshore::transport {

struct wait_list::waiter {
    waiter(wait_list &owner, executor ex)
        : timer(std::move(ex), asio::steady_timer::time_point::max()), list(owner.waiters_),
          place(list.insert(list.end(), this)) {}
    ~waiter() { list.erase(place); }
    waiter(const waiter &) = delete;
    waiter &operator=(const waiter &) = delete;

    asio::steady_timer timer;
    bool notified = false;
    std::list<waiter *> &list;
    std::list<waiter *>::iterator place;
};

task<void> wait_list::wait() {
    waiter self(*this, co_await asio::this_coro::executor);
    co_await self.timer.async_wait(as_result);
}

task<bool> wait_list::wait_until(time_source &time, time_point deadline) {
    waiter self(*this, co_await asio::this_coro::executor);
    time.arm(self.timer, deadline);
    co_await self.timer.async_wait(as_result);
    time.disarm(self.timer);
    co_return self.notified;
}

void wait_list::notify_all() {
    for (waiter *w : waiters_) {
        w->notified = true;
        w->timer.cancel();
    }
}

} // namespace farshore::transport
