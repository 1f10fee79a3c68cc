#include "replicator/hook/hook_main.hpp"

#include "replicator/hook/answer.hpp"
#include "replicator/hook/guard.hpp"
#include "replicator/hook/hook_limits.hpp"

#include <fmt/format.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <poll.h>
#include <string_view>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace farshore::hook {
namespace {

using std::chrono::milliseconds;
using clock = tether::clock;

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;
constexpr std::string_view usage =
    "farshore-hook freezes one application and releases it. The sender starts it and speaks with\n"
    "it over standard input and output: see farshore-hook(8).\n";

/// No file of the sender's but the three; the signals that stop are read, not taken. -1: errno.
int prepare_process() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) { // a free number would be reused
        if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) {
            return -1;
        }
    }
    ::close_range(STDERR_FILENO + 1, ~0U, 0);
    struct stat output{};
    if (::fstat(STDOUT_FILENO, &output) == 0 &&
        (S_ISFIFO(output.st_mode) || S_ISSOCK(output.st_mode))) {
        ::fcntl(STDOUT_FILENO, F_SETFL, O_WRONLY | O_NONBLOCK); // guard::say never waits
    }
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t stopping;
    ::sigemptyset(&stopping);
    for (const int one : {SIGTERM, SIGINT, SIGHUP}) {
        ::sigaddset(&stopping, one);
    }
    ::sigprocmask(SIG_BLOCK, &stopping, nullptr);
    return ::signalfd(-1, &stopping, SFD_CLOEXEC | SFD_NONBLOCK);
}

int refuse(std::string_view message) {
    const std::string line = failed_line(message);
    static_cast<void>(!::write(STDOUT_FILENO, line.data(), line.size()));
    return exit_failed;
}

/// The first line. No value: the reason is in `why`.
std::optional<std::string> first_line(line_reader &from, int signals, clock::time_point start,
                                      std::string_view &why) {
    for (;;) {
        if (auto line = from.next()) {
            return line;
        }
        const auto time =
            std::chrono::ceil<milliseconds>(start + limits::request_patience - clock::now());
        if (from.too_long() || time.count() <= 0) {
            why = from.too_long() ? "the request is too long" : "no request came";
            return std::nullopt;
        }
        std::array<pollfd, 2> both{pollfd{from.fd(), POLLIN, 0}, pollfd{signals, POLLIN, 0}};
        if (::poll(both.data(), both.size(), static_cast<int>(time.count())) <= 0) {
            continue;
        }
        if (both[1].revents != 0) {
            why = "it was told to stop";
            return std::nullopt;
        }
        if (from.read_some() == line_reader::source::closed) {
            why = "standard input ended without a request";
            return std::nullopt;
        }
    }
}

} // namespace

int hook_main(int argc, char **argv) {
    const auto start = clock::now();
    if (argc > 1) {
        const std::string_view word = argv[1];
        if (word == "--version") {
            fmt::print("farshore-hook {}\n", FARSHORE_VERSION);
            return 0;
        }
        const bool help = word == "--help";
        fmt::print(help ? stdout : stderr, "{}", usage);
        return help ? 0 : exit_usage;
    }
    const int signals = prepare_process();
    if (signals < 0) {
        return refuse("this process can't be set up");
    }
    line_reader from(STDIN_FILENO, limits::request_bytes_max);
    std::string_view why;
    const auto line = first_line(from, signals, start, why);
    if (!line) {
        return refuse(why);
    }
    const auto asked = parse_request(*line);
    if (!asked) {
        return refuse(asked.error().text());
    }
    return guard(*asked, from, STDOUT_FILENO, signals, start).run();
}

} // namespace farshore::hook
