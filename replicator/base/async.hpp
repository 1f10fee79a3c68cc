#pragma once
// The only header that includes Asio. Coroutine type, clock that can be waited on, worker pools and
// a condition to wait for, all replaceable so that both daemons run in one thread under a simulated
// clock.
//
// Rules: no capturing lambda is itself a coroutine; parameters by value (or a reference the
// awaiting caller owns for the whole await); no lock is held across co_await; every spawned
// coroutine has an owner that waits for its end (task_group below).

#include "replicator/base/assert.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>

#include <functional>
#include <list>
#include <memory>
#include <type_traits>
#include <utility>

namespace farshore {

template <class T = void>
using task = asio::awaitable<T>;
using executor = asio::any_io_executor;

/// Completion token of all Asio calls: errors come back as the first element, nothing throws.
constexpr auto as_result = asio::experimental::as_tuple(asio::use_awaitable);

/// A clock that coroutines can wait on. `arm` makes `timer` complete (with any error code) at
/// `deadline`; the caller waits for the timer and calls `disarm` afterwards.
class time_source {
  public:
    virtual ~time_source() = default;
    virtual time_point now() const = 0;
    virtual wall_time wall() const = 0;
    virtual void arm(asio::steady_timer &timer, time_point deadline) = 0;
    virtual void disarm(asio::steady_timer &timer) = 0;

    /// Returns at the deadline, or earlier when the coroutine is cancelled.
    task<void> sleep_until(time_point deadline);
    task<void> sleep_for(duration d);
};

/// The machine's clock. Thread-safe.
class system_clock final : public time_source {
  public:
    time_point now() const override;
    wall_time wall() const override;
    void arm(asio::steady_timer &timer, time_point deadline) override;
    void disarm(asio::steady_timer &timer) override;
};

/// What coroutines of the engine run on. `home` owns all engine state; `disk` runs what may block,
/// `cpu` what computes for long and gives way to clients' requests, `cpu_urgent` what they must not
/// outrun. In a simulation all are one executor.
struct runtime {
    executor home;
    executor disk;
    executor cpu;
    executor cpu_urgent;
    time_source *time = nullptr;
};

/// A condition that coroutines of one executor wait for. Single-threaded: wait and notify on the
/// owner's executor only. A waiter leaves the list when its coroutine ends or is destroyed (an
/// io_context that goes away), so notifying is safe then; the condition must outlive its waiters.
class condition {
  public:
    condition() = default;
    condition(const condition &) = delete;
    condition &operator=(const condition &) = delete;

    /// Returns at the next notify_all(), or earlier when the coroutine is cancelled.
    task<void> wait();
    /// Returns true on notify, false when the deadline passed first.
    task<bool> wait_until(time_source &time, time_point deadline);
    void notify_all();

  private:
    struct waiter;
    std::list<waiter *> waiters_;
};

/// Owns spawned coroutines: `spawn` starts one on the executor, `join` waits until all ended. An
/// exception out of a coroutine is a bug and aborts. Single-threaded on its executor; the object
/// must outlive its coroutines (join before destruction, asserted).
class task_group {
  public:
    explicit task_group(executor ex) : executor_(std::move(ex)) {}
    ~task_group() { REPL_ASSERT(running_ == 0); }
    task_group(const task_group &) = delete;
    task_group &operator=(const task_group &) = delete;

    void spawn(task<void> t);
    task<void> join();
    std::size_t running() const { return running_; }

  private:
    executor executor_;
    std::size_t running_ = 0;
    condition ended_;
};

namespace detail {
template <class F>
task<std::invoke_result_t<F>> call(F f) {
    co_return f();
}
} // namespace detail

/// Runs f() on another executor (a pool) and resumes on the caller's own with its result. f must
/// not throw and owns what it needs by value (or refers to what the caller keeps alive).
template <class F>
task<std::invoke_result_t<F>> run_on(executor pool, F f) {
    co_return co_await asio::co_spawn(pool, detail::call(std::move(f)), asio::use_awaitable);
}

} // namespace farshore
