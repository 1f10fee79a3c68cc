#include "replicator/hook/guard.hpp"

#include "replicator/control/json_guard.hpp"
#include "replicator/hook/answer.hpp"
#include "replicator/hook/freezer.hpp"
#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/worker.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace farshore::hook {
namespace {

using std::chrono::milliseconds;

constexpr int exit_released = 0;
constexpr int exit_failed = 1;
constexpr int exit_expired = 3;

bool is_release(const std::string &line) {
    const auto document = control::parse_json(line);
    return document && document->is_object() && document->size() == 1 &&
           document->value("command", nlohmann::json()) == "release";
}

milliseconds force_patience(application type) {
    return type == application::script
               ? limits::script_close_patience + limits::script_force_patience
               : limits::force_patience;
}

} // namespace

guard::guard(const request &asked, line_reader &from, int to, int signals, clock::time_point start)
    : asked_(asked), from_(from), to_(to), signals_(signals), end_(start + asked.timeout) {}

int guard::run() {
    if (const auto started = start_worker(); !started) {
        say(failed_line(started.error().text()));
        return exit_failed;
    }
    hear_sender(); // what came with the first line
    while (state_ != guard_state::done) {
        watch();
    }
    if (!worker_dead(limits::kill_settle)) {
        ::kill(worker_, SIGKILL); // it has released and said so; it only has to end
        static_cast<void>(worker_dead(limits::kill_settle));
    }
    return exit_code_;
}

result<> guard::start_worker() {
    FS_TRY(ends, make_channel());
    // The process of a script outlives a worker that dies, and is waited for here.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    worker_ = ::fork();
    if (worker_ < 0) {
        return fail_errno(errno, "starting a process");
    }
    if (worker_ == 0) {
        ends.first.reset();
        ::close(signals_);
        ::_exit(run_worker(asked_, ends.second.get(), end_ + limits::own_clock_grace));
    }
    channel_ = std::move(ends.first);
    return {};
}

/// Waits for whatever comes first, and tells the table.
void guard::watch() {
    const auto now = clock::now();
    if (grace_end_ && now >= *grace_end_) {
        grace_end_.reset();
        on(guard_event::grace_up);
        return;
    }
    if (!time_up_ && now >= end_) {
        time_up_ = true;
        on(guard_event::time_up);
        return;
    }
    auto next = grace_end_ ? *grace_end_ : now + limits::timeout_max;
    next = time_up_ ? next : std::min(next, end_);
    std::array<pollfd, 4> all{pollfd{channel_.get(), POLLIN, 0},
                              pollfd{from_open_ ? from_.fd() : -1, POLLIN, 0},
                              pollfd{signals_, POLLIN, 0}, pollfd{mute_ ? -1 : to_, 0, 0}};
    const auto time = std::chrono::ceil<milliseconds>(next - now);
    if (::poll(all.data(), all.size(), static_cast<int>(time.count())) <= 0) {
        return;
    }
    if (all[0].revents != 0) {
        hear_worker();
    }
    if (all[2].revents != 0) {
        signalfd_siginfo which{};
        if (::read(signals_, &which, sizeof which) == ssize_t(sizeof which)) {
            on(guard_event::signal);
        }
    }
    if (all[3].revents != 0) { // POLLERR: the reader is gone
        mute_ = true;
        on(guard_event::closed);
    }
    if (all[1].revents != 0 && from_.read_some() == line_reader::source::closed) {
        hear_sender();
        from_open_ = false;
        on(guard_event::closed);
    } else if (all[1].revents != 0) {
        hear_sender();
    }
}

void guard::hear_sender() {
    while (const auto line = from_.next()) {
        on(is_release(*line) ? guard_event::asked : guard_event::nonsense);
    }
    if (from_.too_long()) {
        on(guard_event::nonsense);
    }
}

void guard::hear_worker() {
    while (state_ != guard_state::done) {
        const auto word = next_worker_word(channel_.get());
        if (!word) {
            on(guard_event::lost);
            return;
        }
        if (!*word) {
            return;
        }
        hear_word(**word);
    }
}

void guard::hear_word(const worker_word &word) {
    if (word.what == worker_says::armed) {
        trace_ = word.text;
        return;
    }
    if (word.what == worker_says::leaving) {
        if (grace_end_) {
            grace_end_ = clock::now() + limits::script_retreat_patience;
        }
        return;
    }
    last_ = word;
    switch (word.what) {
    case worker_says::armed:
    case worker_says::leaving:
        return;
    case worker_says::stuck:
        reason_ = reason_.empty() ? word.text : reason_;
        on(guard_event::lost);
        return;
    case worker_says::frozen:
        on(guard_event::froze);
        return;
    case worker_says::failed:
        on(guard_event::failed);
        return;
    case worker_says::released:
        on(guard_event::released);
        return;
    }
}

std::string guard::because(guard_event event) const {
    switch (event) {
    case guard_event::asked:
        return "release was asked for before it was frozen";
    case guard_event::nonsense:
        return "a line came that is no command";
    case guard_event::closed:
        return "the sender is gone";
    case guard_event::signal:
        return "it was told to stop";
    case guard_event::time_up:
        return fmt::format("the time of {} ms is over", asked_.timeout.count());
    case guard_event::lost:
        return "the process that held the freeze ended";
    case guard_event::froze:
    case guard_event::failed:
    case guard_event::released:
    case guard_event::grace_up:
        break;
    }
    return "the process that held the freeze went its own way";
}

void guard::on(guard_event event) {
    const guard_step step = guard_next(state_, event);
    const bool planned =
        step.action == guard_action::none || step.action == guard_action::say_frozen ||
        step.action == guard_action::ask_release || step.action == guard_action::say_released;
    if (!planned && reason_.empty()) {
        reason_ = because(event);
    }
    state_ = step.next;
    act(step.action);
}

void guard::act(guard_action action) {
    switch (action) {
    case guard_action::none:
        return;
    case guard_action::say_frozen:
        frozen_at_ = clock::now();
        say(frozen_line(last_.freeze, last_.known));
        return;
    case guard_action::say_failed:
        say(failed_line(last_.text));
        exit_code_ = exit_failed;
        return;
    case guard_action::ask_release:
        send_word(channel_.get(), guard_says::release); // its end is heard next, if it is gone
        return;
    case guard_action::let_go:
        retreat();
        return;
    case guard_action::say_released:
        say(released_line({last_.proved,
                           std::chrono::duration_cast<milliseconds>(clock::now() - frozen_at_),
                           last_.known, last_.text}));
        exit_code_ = exit_released;
        return;
    case guard_action::say_expired:
        say_expired("");
        return;
    case guard_action::force_failed: {
        const std::string how = force();
        say(failed_line(reason_ + how));
        exit_code_ = exit_failed;
        return;
    }
    case guard_action::force_released: {
        const std::string how = force();
        say(released_line({false,
                           std::chrono::duration_cast<milliseconds>(clock::now() - frozen_at_),
                           {},
                           reason_ + how}));
        exit_code_ = exit_released;
        return;
    }
    case guard_action::force_expired:
        say_expired(force());
        return;
    }
}

void guard::retreat() {
    send_word(channel_.get(), guard_says::let_go);
    grace_end_ = clock::now() + limits::retreat_patience;
}

void guard::say_expired(const std::string &how) {
    say(expired_line(reason_ + how));
    exit_code_ = exit_expired;
}

/// Never waits: the reader of a full pipe has other troubles, and an application stands still.
void guard::say(const std::string &line) {
    if (mute_) {
        return;
    }
    const ssize_t written = ::write(to_, line.data(), line.size());
    if (written != static_cast<ssize_t>(line.size())) {
        mute_ = true;
        if (state_ != guard_state::done) {
            on(guard_event::closed);
        }
    }
}

/// True once it is reaped.
bool guard::worker_dead(milliseconds patience) {
    const auto end = clock::now() + patience;
    while (!reaped_) {
        const pid_t gone = ::waitpid(worker_, nullptr, WNOHANG);
        reaped_ = gone == worker_ || (gone < 0 && errno == ECHILD);
        if (reaped_ || clock::now() >= end) {
            break;
        }
        std::this_thread::sleep_for(milliseconds(2));
    }
    return reaped_;
}

/// How it went, to be put behind a reason.
///
/// A worker that does not die waits in the kernel, perhaps in the very call that freezes: that call
/// may still succeed. So the release is tried until it is dead and once more after that.
std::string guard::force() {
    ::kill(worker_, SIGKILL);
    const bool dead = worker_dead(limits::kill_settle);
    while (true) { // what it armed before it died
        const auto word = next_worker_word(channel_.get());
        if (!word || !*word) {
            break;
        }
        if ((*word)->what == worker_says::armed) {
            trace_ = (*word)->text;
        }
    }
    if (!trace_) {
        // Nothing was begun, and nothing can be: a killed process makes no further call, also one
        // that the kernel or a busy machine keeps from its end.
        return dead ? "" : "; its process has not ended yet";
    }
    const auto failure = release_the_dead();
    if (!failure) {
        return "; released by force";
    }
    const std::string text = fmt::format("; it could NOT be released by force: {}", *failure);
    fmt::print(stderr, "farshore-hook: {} {} of group {}{}\n", name_of(asked_.type), asked_.name,
               asked_.group, text);
    return text;
}

std::optional<std::string> guard::release_the_dead() {
    const auto held = make_freezer(asked_);
    for (;;) {
        const bool dead = worker_dead(milliseconds(0));
        tether own(force_patience(asked_.type));
        const auto released = held->force_release(own, *trace_);
        if (dead) {
            return released ? std::nullopt : std::optional(released.error().text());
        }
        static_cast<void>(worker_dead(milliseconds(100)));
    }
}

} // namespace farshore::hook
