#include "replicator/rehearsal/script_runner.hpp"

#include "replicator/base/unique_fd.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <grp.h>
#include <ranges>
#include <sys/stat.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace farshore::rehearsal {
namespace {

using steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds probe_every{200};
constexpr milliseconds look_every{50};
constexpr auto stop_patience = std::chrono::seconds(10); ///< for SIGTERM, of one step
constexpr auto kill_patience = std::chrono::seconds(5);  ///< for SIGKILL, which may wait in a disk
constexpr int cant_run = 127;

std::vector<char *> pointers_to(const std::vector<std::string> &words) {
    std::vector<char *> all;
    for (const std::string &word : words) {
        all.push_back(const_cast<char *>(word.c_str())); // exec does not change them
    }
    all.push_back(nullptr);
    return all;
}

/// In the child. Returns what failed as an errno, if it returns.
int become(const script_plan &plan, char *const *words, char *const *environment, int output) {
    ::setsid();
    sigset_t none;
    ::sigemptyset(&none);
    for (int number = 1; number < SIGRTMIN; ++number) {
        ::signal(number, SIG_DFL); // SIGKILL and SIGSTOP are as they are
    }
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (::dup2(nothing, STDIN_FILENO) < 0 || ::dup2(output, STDOUT_FILENO) < 0 ||
        ::dup2(output, STDERR_FILENO) < 0) {
        return errno;
    }
    if (plan.user && (::initgroups(plan.user->name.c_str(), plan.user->gid) != 0 ||
                      ::setgid(plan.user->gid) != 0 || ::setuid(plan.user->uid) != 0)) {
        return errno;
    }
    ::umask(022);
    if (::chdir(plan.directory.c_str()) != 0) {
        return errno;
    }
    ::execvpe(words[0], words, environment);
    return errno;
}

std::string why(int code) {
    return code > 128 ? fmt::format("was ended by signal {}", code - 128)
                      : fmt::format("ended with {}", code);
}

std::string cant_start(const std::string &program, int number) {
    return fmt::format("{} can't be run: {}", program, std::generic_category().message(number));
}

} // namespace

script_runner::script_runner(const script_plan &plan, int output,
                             const std::function<void(const std::string &)> &tell)
    : plan_(plan), output_(output), tell_(tell) {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, nullptr); // pause() takes it
}

bool script_runner::start_steps() {
    return std::ranges::all_of(plan_.steps, [&](const start_step &s) {
        tell_("step " + s.name);
        return run_step(s);
    });
}

void script_runner::run() {
    if (start_steps()) {
        run_script();
    }
    stop_steps();
}

script_runner::started script_runner::start(const std::vector<std::string> &words) {
    const auto argv = pointers_to(words);
    const auto environment = pointers_to(plan_.environment);
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return {-1, errno};
    }
    unique_fd read(ends[0]);
    unique_fd write(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0) {
        return {-1, errno};
    }
    if (pid == 0) {
        const int failed = become(plan_, argv.data(), environment.data(), output_);
        const ssize_t said = ::write(write.get(), &failed, sizeof failed);
        ::_exit(said > 0 ? cant_run : cant_run - 1);
    }
    write.reset();
    ours_[pid] = std::nullopt;
    int failed = 0;
    ssize_t got = 0;
    do {
        got = ::read(read.get(), &failed, sizeof failed);
    } while (got < 0 && errno == EINTR);
    if (got == sizeof failed) {
        static_cast<void>(wait_for(pid, steady::now() + kill_patience));
        return {-1, failed};
    }
    return {pid, 0};
}

bool script_runner::run_step(const start_step &step) {
    const auto failed = [&](const std::string &text) {
        tell_(fmt::format("step_failed {} {}", step.name, text));
        return false;
    };
    const when until = steady::now() + step.timeout;
    const started s = start(step.run);
    if (s.failed != 0) {
        return failed(cant_start(step.run.front(), s.failed));
    }
    groups_.push_back(s.pid);
    if (!step.probe.empty()) {
        return probed(step, s.pid, until);
    }
    const auto code = wait_for(s.pid, until);
    if (!code) {
        return failed("did not end in time; a step that stays needs a probe");
    }
    return *code == 0 ? true : failed(why(*code));
}

bool script_runner::probed(const start_step &step, pid_t server, when until) {
    const auto failed = [&](const std::string &text) {
        tell_(fmt::format("step_failed {} {}", step.name, text));
        return false;
    };
    std::string last = "none ended";
    while (steady::now() < until) {
        if (const auto code = wait_for(server, steady::now()); code && *code != 0) {
            return failed(why(*code) + " before its probe passed");
        }
        const started p = start(step.probe);
        if (p.failed != 0) {
            return failed(cant_start(step.probe.front(), p.failed));
        }
        const auto code = wait_for(p.pid, until);
        if (!code) {
            stop_group(p.pid);
            break;
        }
        if (*code == 0) {
            return true;
        }
        last = "the last one " + why(*code);
        pause(probe_every);
    }
    return failed("no probe passed in time: " + last);
}

void script_runner::run_script() {
    tell_("script");
    const when until = steady::now() + plan_.timeout;
    const started s = start(plan_.run);
    if (s.failed != 0) {
        tell_("trouble " + cant_start(plan_.run.front(), s.failed));
        return;
    }
    if (const auto code = wait_for(s.pid, until)) {
        tell_(fmt::format("ended {}", *code));
        return;
    }
    ::kill(-s.pid, SIGKILL);
    tell_("timed_out");
}

void script_runner::stop_steps() {
    for (const pid_t group : groups_ | std::views::reverse) {
        stop_group(group);
    }
}

void script_runner::stop_group(pid_t group) {
    const auto gone_within = [&](auto patience) {
        const when until = steady::now() + patience;
        for (;;) {
            reap();
            if (::kill(-group, 0) != 0) {
                return true;
            }
            if (steady::now() >= until) {
                return false;
            }
            pause(look_every);
        }
    };
    ::kill(-group, SIGTERM);
    if (!gone_within(stop_patience)) {
        ::kill(-group, SIGKILL);
        static_cast<void>(gone_within(kill_patience));
    }
}

/// Also those that lost their parent: in a process namespace they are ours to reap.
void script_runner::reap() {
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
        if (const auto at = ours_.find(pid); at != ours_.end()) {
            at->second = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
    }
}

void script_runner::pause(milliseconds time) {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    const timespec limit{static_cast<time_t>(ns / 1'000'000'000),
                         static_cast<long>(ns % 1'000'000'000)};
    ::sigtimedwait(&child, nullptr, &limit);
}

std::optional<int> script_runner::wait_for(pid_t pid, when until) {
    for (;;) {
        reap();
        if (const auto &code = ours_[pid]) {
            return code;
        }
        const auto left = std::chrono::ceil<milliseconds>(until - steady::now());
        if (left.count() <= 0) {
            return std::nullopt;
        }
        pause(std::min<milliseconds>(left, std::chrono::seconds(1)));
    }
}

} // namespace farshore::rehearsal
