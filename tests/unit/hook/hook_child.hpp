#pragma once
// The whole of farshore-hook in a process, as its sender sees it: two pipes.

#include "replicator/hook/hook_main.hpp"
#include "tests/unit/hook/script_rig.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace farshore::hook {

inline nlohmann::json request_line(const request &asked) {
    return {{"version", 1},
            {"name", asked.name},
            {"type", name_of(asked.type)},
            {"timeout_ms", asked.timeout.count()},
            {"group", asked.group},
            {"bookmark", asked.bookmark},
            {"run", asked.run}};
}

class hook_child {
  public:
    /// `full`: its output is a pipe that takes nothing more.
    explicit hook_child(bool full = false) {
        ::signal(SIGPIPE, SIG_IGN);
        std::array<int, 2> in{};
        std::array<int, 2> out{};
        REQUIRE(::pipe2(in.data(), O_CLOEXEC) == 0);
        REQUIRE(::pipe2(out.data(), O_CLOEXEC) == 0);
        if (full) {
            fill(out[1]);
        }
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            ::dup2(in[0], STDIN_FILENO);
            ::dup2(out[1], STDOUT_FILENO);
            std::string name = "farshore-hook";
            std::array<char *, 2> words{name.data(), nullptr};
            ::_exit(hook_main(1, words.data()));
        }
        ::close(in[0]);
        ::close(out[1]);
        to_ = in[1];
        from_ = out[0];
    }
    ~hook_child() {
        close_input();
        close_output();
        for (const pid_t one : {worker_, code_ ? -1 : pid_}) { // when its handling was wrong
            if (one > 1 && !process_gone(one)) {
                ::kill(one, SIGKILL);
            }
        }
        if (!code_) {
            ::waitpid(pid_, nullptr, 0);
        }
    }
    hook_child(const hook_child &) = delete;
    hook_child &operator=(const hook_child &) = delete;

    pid_t pid() const { return pid_; }
    /// Known once it was frozen.
    pid_t worker() const { return worker_; }
    /// It may end while that is written.
    void say(const std::string &line) const {
        const std::string text = line + "\n";
        static_cast<void>(!::write(to_, text.data(), text.size()));
    }
    void close_input() { ::close(std::exchange(to_, -1)); }
    void close_output() { ::close(std::exchange(from_, -1)); }

    /// What it says next, within ten seconds; null at the end of it.
    nlohmann::json event() {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!kept_.contains('\n')) {
            pollfd one{from_, POLLIN, 0};
            const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                end - std::chrono::steady_clock::now());
            std::array<char, 4096> some{};
            const ssize_t got =
                left.count() > 0 && ::poll(&one, 1, static_cast<int>(left.count())) == 1
                    ? ::read(from_, some.data(), some.size())
                    : 0;
            if (got <= 0) {
                return nullptr;
            }
            kept_.append(some.data(), std::size_t(got));
        }
        const auto at = kept_.find('\n');
        auto said = nlohmann::json::parse(kept_.substr(0, at));
        kept_.erase(0, at + 1);
        return said;
    }
    /// Asks for that, and waits until it is.
    void freeze(const request &asked) {
        say(request_line(asked).dump());
        const auto said = event();
        REQUIRE_MESSAGE((said.is_object() && said["event"] == "frozen"), said.dump());
        std::ifstream children(fmt::format("/proc/{}/task/{}/children", pid_, pid_));
        children >> worker_;
    }
    /// Its exit code, within ten seconds; -1: it goes on.
    int code() {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!code_ && std::chrono::steady_clock::now() < end) {
            int status = 0;
            if (::waitpid(pid_, &status, WNOHANG) == pid_) {
                code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return code_.value_or(-1);
    }

  private:
    static void fill(int pipe) {
        ::fcntl(pipe, F_SETFL, O_WRONLY | O_NONBLOCK);
        const std::array<char, 1024> some{};
        while (::write(pipe, some.data(), some.size()) > 0) {
        }
        while (::write(pipe, some.data(), 1) > 0) {
        }
    }

    pid_t pid_ = -1;
    pid_t worker_ = -1;
    int to_ = -1;
    int from_ = -1;
    std::string kept_;
    std::optional<int> code_;
};

} // namespace farshore::hook
