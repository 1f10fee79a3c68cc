#include "replicator/base/async.hpp"

#include <algorithm>
#include <exception>

namespace farshore {

task<void> time_source::sleep_until(time_point deadline) {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    arm(timer, deadline);
    co_await timer.async_wait(as_result);
    disarm(timer);
}

task<void> time_source::sleep_for(duration d) { return sleep_until(now() + d); }

time_point system_clock::now() const { return std::chrono::steady_clock::now(); }
wall_time system_clock::wall() const { return std::chrono::system_clock::now(); }
void system_clock::arm(asio::steady_timer &timer, time_point deadline) {
    timer.expires_at(deadline);
}
void system_clock::disarm(asio::steady_timer &) {}

struct condition::waiter {
    waiter(condition &owner, executor ex)
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

task<void> condition::wait() {
    waiter self(*this, co_await asio::this_coro::executor);
    co_await self.timer.async_wait(as_result);
}

task<bool> condition::wait_until(time_source &time, time_point deadline) {
    waiter self(*this, co_await asio::this_coro::executor);
    time.arm(self.timer, deadline);
    co_await self.timer.async_wait(as_result);
    time.disarm(self.timer);
    co_return self.notified;
}

void condition::notify_all() {
    for (waiter *w : waiters_) {
        w->notified = true;
        w->timer.cancel();
    }
}

void task_group::spawn(task<void> t) {
    ++running_;
    asio::co_spawn(executor_, std::move(t), [this](std::exception_ptr failure) {
        if (failure) {
            std::rethrow_exception(failure); // a bug: ends the program with the message
        }
        --running_;
        ended_.notify_all();
    });
}

task<void> task_group::join() {
    while (running_ > 0) {
        co_await ended_.wait();
    }
}

} // namespace farshore
