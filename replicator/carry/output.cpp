#include "replicator/carry/output.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <sys/time.h>
#include <unistd.h>

namespace farshore::carry {
namespace {

/// While it lives a write that waits for a reader comes back now and then (EINTR), to look at
/// `stop`. Other threads of ours take no signals.
class ticks {
  public:
    ticks() {
        struct sigaction action{};
        action.sa_handler = [](int) {};
        sigemptyset(&action.sa_mask);
        ::sigaction(SIGALRM, &action, &before_);
        const itimerval often{{0, look_every_us}, {0, look_every_us}};
        ::setitimer(ITIMER_REAL, &often, nullptr);
    }
    ~ticks() {
        const itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
        ::sigaction(SIGALRM, &before_, nullptr);
    }
    ticks(const ticks &) = delete;
    ticks &operator=(const ticks &) = delete;

  private:
    static constexpr suseconds_t look_every_us = 200'000;
    struct sigaction before_{};
};

} // namespace

std::unexpected<error> write_failed(int number, const std::string &name) {
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return fail_errno(number, name + ": what was written of it is removed; make room, or "
                                         "write to another place");
    case EFBIG:
        return fail_errno(number, name + ": the file system or a limit of this process (ulimit -f) "
                                         "allows no file of that size");
    case EPIPE:
        return fail_errno(number, name + ": the program that reads it ended before it had all; "
                                         "what it has is not whole");
    default:
        return fail_errno(number, "writing " + name);
    }
}

result<> write_all(int fd, bytes_view bytes, const std::string &name,
                   const std::function<bool()> &stop) {
    const ticks ticking;
    while (!bytes.empty()) {
        if (stop()) {
            return fail(errc::cancelled, "");
        }
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return write_failed(errno, name);
        }
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

result<> write_zeroes(int fd, std::uint64_t count, const std::string &name,
                      const std::function<bool()> &stop) {
    static constexpr std::array<std::byte, 256 * 1024> zeroes{};
    while (count > 0) {
        const auto now = static_cast<std::size_t>(std::min<std::uint64_t>(count, zeroes.size()));
        FS_CHECK(write_all(fd, bytes_view(zeroes).first(now), name, stop));
        count -= now;
    }
    return {};
}

result<> write_at(int fd, std::uint64_t offset, bytes_view bytes, const std::string &name) {
    while (!bytes.empty()) {
        const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return write_failed(errno, name);
        }
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

result<std::size_t> read_some(int fd, bytes_span bytes, const std::string &name,
                              const std::function<bool()> &stop) {
    const ticks ticking;
    for (;;) {
        if (stop()) {
            return fail(errc::cancelled, "");
        }
        const ssize_t n = ::read(fd, bytes.data(), bytes.size());
        if (n >= 0) {
            return static_cast<std::size_t>(n);
        }
        if (errno != EINTR) {
            return fail_errno(errno, "reading " + name);
        }
    }
}

} // namespace farshore::carry
