#pragma once
// Simulated time, moved by hand: the same seed gives the same run. Coroutines wait on it as on the
// machine's clock (time_source); nothing happens until the test advances.
//
// How it works: arm() notes (deadline, timer) and sets the timer itself to "never"; advancing
// cancels the timers that are due, in the order of their deadlines and, within one deadline, in the
// order of arming. Their waits then complete at the next poll of the io_context.
//
// Single-threaded. Declare the clock before the io_context, so that it outlives the coroutines.
// When an io_context with waiting coroutines is destroyed but the clock goes on, call forget_all().

#include "replicator/base/async.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace farshore::test {

class sim_clock final : public time_source {
  public:
    time_point now() const override { return now_; }
    wall_time wall() const override { return wall_start_ + (now_ - start_) + wall_shift_; }

    void arm(asio::steady_timer &timer, time_point deadline) override {
        disarm(timer);
        timer.expires_at(asio::steady_timer::time_point::max());
        // Before the equal ones: those were armed earlier, and the last one wakes first.
        const auto place =
            std::ranges::find_if(armed_, [&](const auto &one) { return one.first <= deadline; });
        armed_.emplace(place, deadline, &timer);
    }

    void disarm(asio::steady_timer &timer) override {
        const auto place =
            std::ranges::find_if(armed_, [&](const auto &one) { return one.second == &timer; });
        if (place != armed_.end()) { // at most once: arm() disarms
            armed_.erase(place);
        }
    }

    /// The earliest deadline that somebody waits for. It may lie in the past (due at once).
    std::optional<time_point> next_deadline() const {
        return armed_.empty() ? std::nullopt : std::optional(armed_.back().first);
    }

    /// Moves to the earliest deadline and lets all timers of that moment complete. False, and time
    /// stands still, when nobody waits.
    bool advance_to_next() {
        const auto next = next_deadline();
        if (!next) {
            return false;
        }
        advance_to(std::max(*next, now_));
        return true;
    }

    /// Moves on and lets everything due by then complete. What the woken coroutines arm while they
    /// run sees the later time: run_for() below steps through the deadlines instead.
    void advance(duration d) { advance_to(now_ + d); }

    /// Sets the wall time; steady time is not touched. Jumps in both directions are allowed.
    void set_wall(wall_time t) { wall_shift_ += t - wall(); }
    void jump_wall(duration d) { wall_shift_ += d; }

    /// Drops all armed timers without touching them: for after the io_context that owned the
    /// waiting coroutines was destroyed.
    void forget_all() { armed_.clear(); }
    std::size_t waiting() const { return armed_.size(); }

  private:
    void advance_to(time_point t) {
        now_ = t;
        while (!armed_.empty() && armed_.back().first <= now_) {
            asio::steady_timer *timer = armed_.back().second;
            armed_.pop_back();
            timer->cancel();
        }
    }

    static constexpr time_point start_{std::chrono::hours(24)};
    static constexpr wall_time wall_start_{std::chrono::seconds(1767225600)}; // 2026-01-01 UTC
    time_point now_ = start_;
    duration wall_shift_{};
    // The latest first. A few dozen at most: looking through them costs less than a tree would.
    std::vector<std::pair<time_point, asio::steady_timer *>> armed_;
};

/// Runs handlers until none is ready, without moving time.
inline void run_ready(asio::io_context &io) {
    do {
        io.restart();
    } while (io.poll() > 0);
}

/// Runs until `done()` holds, moving time from deadline to deadline. Returns done(): false when the
/// simulated time ran out or when nobody waits for anything any more.
template <class Predicate>
bool run_until(asio::io_context &io, sim_clock &clock, Predicate done,
               duration max_simulated_time) {
    const time_point end = clock.now() + max_simulated_time;
    for (;;) {
        run_ready(io);
        if (done()) {
            return true;
        }
        const auto next = clock.next_deadline();
        if (!next) {
            return false;
        }
        if (*next > end) {
            clock.advance(end - clock.now());
            run_ready(io);
            return done();
        }
        clock.advance_to_next();
    }
}

/// Lets `d` of simulated time pass, deadline by deadline.
inline void run_for(asio::io_context &io, sim_clock &clock, duration d) {
    const time_point end = clock.now() + d;
    run_until(io, clock, [] { return false; }, d);
    if (clock.now() < end) {
        clock.advance(end - clock.now());
        run_ready(io);
    }
}

} // namespace farshore::test
