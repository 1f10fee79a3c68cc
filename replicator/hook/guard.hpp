#pragma once
// The process that the sender started. It calls no library that could hang: it watches the sender's
// pipe, the clock and the worker, follows guard_cases.hpp, and is what remains when the worker
// hangs, dies or is killed. Then it releases by force.
//
// If it is killed itself, the worker sees the end of their channel and releases.

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/hook/channel.hpp"
#include "replicator/hook/guard_cases.hpp"
#include "replicator/hook/line_reader.hpp"
#include "replicator/hook/request.hpp"
#include "replicator/hook/tether.hpp"

#include <optional>
#include <string>
#include <sys/types.h>

namespace farshore::hook {

class guard {
  public:
    using clock = tether::clock;
    /// `from` is where the sender's lines come from, `to` where its answers go, `signals` a
    /// signalfd. The time counts from `start`.
    guard(const request &asked, line_reader &from, int to, int signals, clock::time_point start);
    /// The exit code of the program.
    int run();

  private:
    result<> start_worker();
    void watch();
    void hear_sender();
    void hear_worker();
    void hear_word(const worker_word &word);
    void on(guard_event event);
    void act(guard_action action);
    void retreat();
    void say(const std::string &line);
    void say_expired(const std::string &how);
    std::string force();
    std::optional<std::string> release_the_dead();
    bool worker_dead(std::chrono::milliseconds patience);
    std::string because(guard_event event) const;

    const request &asked_;
    line_reader &from_;
    int to_;
    int signals_;
    clock::time_point end_;
    bool from_open_ = true;
    bool time_up_ = false;
    bool mute_ = false; ///< nobody reads our answers
    pid_t worker_ = -1;
    bool reaped_ = false;
    unique_fd channel_;
    guard_state state_ = guard_state::freezing;
    std::string reason_;               ///< of the first step that was not asked for
    std::optional<std::string> trace_; ///< something may be frozen; for the release by force
    worker_word last_;
    clock::time_point frozen_at_{};
    std::optional<clock::time_point> grace_end_;
    int exit_code_ = 1;
};

} // namespace farshore::hook
