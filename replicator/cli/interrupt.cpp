#include "replicator/cli/interrupt.hpp"

#include "replicator/control/exit_code.hpp"

#include <atomic>
#include <csignal>
#include <cstring>
#include <unistd.h>

namespace farshore {
namespace {

// Read by the signal handler, which may call nothing that is not async-signal-safe.
std::atomic<bool> print_json{false};
std::atomic<bool> break_line{false};
std::atomic<bool> only_flag{false};
std::atomic<bool> flag{false};

void say(int fd, const char *text) {
    const ssize_t ignored = ::write(fd, text, std::strlen(text));
    static_cast<void>(ignored);
}

void on_interrupt(int) {
    if (only_flag && !flag.exchange(true)) {
        return;
    }
    if (break_line) {
        say(STDERR_FILENO, "\r\x1b[K");
    }
    if (print_json) {
        say(STDOUT_FILENO, "{\"error\":{\"code\":\"interrupted\",\"message\":\"interrupted\"}}\n");
    }
    ::_exit(value_of(exit_code::interrupted));
}

} // namespace

void exit_on_interrupt(bool as_json, const terminal &term) {
    print_json = as_json;
    break_line = term.err_is_tty;
    struct sigaction action{};
    action.sa_handler = on_interrupt;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

interrupt_flag::interrupt_flag() {
    flag = false;
    only_flag = true;
}
interrupt_flag::~interrupt_flag() { only_flag = false; }
bool interrupt_flag::raised() { return flag; }

} // namespace farshore
