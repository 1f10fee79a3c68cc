#include "replicator/carry/child.hpp"

#include "replicator/base/unique_fd.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace farshore::carry {
namespace {

constexpr int look_every_ms = 200; ///< at `stop`
constexpr int not_started = 127;   ///< exec failed, as a shell says it

struct pipe_ends {
    unique_fd read;
    unique_fd write;
};

result<pipe_ends> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return fail_errno(errno, "a pipe");
    }
    return pipe_ends{unique_fd(ends[0]), unique_fd(ends[1])};
}

/// In the child, where nothing may be allocated any more.
[[noreturn]] void become(char *const *words, int out, int err, pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) {
        ::_exit(not_started); // it ended in between
    }
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    ::execvp(words[0], words);
    ::_exit(not_started);
}

/// False at the end of the stream.
bool take(int fd, std::string &kept, const std::function<void(const std::string &)> &heard) {
    std::array<char, 4096> piece{};
    const ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0) {
        return errno == EINTR;
    }
    const std::string text(piece.data(), static_cast<std::size_t>(n));
    kept += text;
    if (kept.size() > child_output_max) {
        kept.erase(0, kept.size() - child_output_max);
    }
    if (heard && n > 0) {
        heard(text);
    }
    return n > 0;
}

int wait_for(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

} // namespace

result<child_outcome> run_child(const std::vector<std::string> &words, const std::string &package,
                                const std::function<void(const std::string &)> &heard,
                                const std::function<bool()> &stop) {
    FS_TRY(out, make_pipe());
    FS_TRY(err, make_pipe());
    std::vector<char *> argv;
    for (const std::string &word : words) {
        argv.push_back(const_cast<char *>(word.c_str())); // execvp does not change them
    }
    argv.push_back(nullptr);
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) {
        return fail_errno(errno, "starting " + words.front());
    }
    if (child == 0) {
        become(argv.data(), out.write.get(), err.write.get(), parent);
    }
    out.write.reset();
    err.write.reset();
    child_outcome done;
    std::array<pollfd, 2> ends{pollfd{out.read.get(), POLLIN, 0},
                               pollfd{err.read.get(), POLLIN, 0}};
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
        if (stop()) {
            ::kill(child, SIGKILL);
            wait_for(child);
            return fail(errc::cancelled, "");
        }
        if (::poll(ends.data(), ends.size(), look_every_ms) <= 0) {
            continue;
        }
        if (ends[0].revents != 0 && !take(ends[0].fd, done.out, heard)) {
            ends[0].fd = -1;
        }
        if (ends[1].revents != 0 && !take(ends[1].fd, done.err, nullptr)) {
            ends[1].fd = -1;
        }
    }
    done.exit = wait_for(child);
    if (done.exit == not_started) {
        return fail(errc::unsupported, fmt::format("{} can't be run; it is in the package {}",
                                                   words.front(), package));
    }
    return done;
}

} // namespace farshore::carry
