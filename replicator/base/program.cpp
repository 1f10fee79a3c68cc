#include "replicator/base/program.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/blocking.hpp"
#include "replicator/base/clean_text.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace farshore {
namespace {

constexpr duration kill_patience = std::chrono::seconds(2); ///< SIGKILL is not refused, only late

/// posix_spawn's two lists, released with the object.
struct spawn_plan {
    posix_spawn_file_actions_t files{};
    posix_spawnattr_t attributes{};
    spawn_plan() {
        ::posix_spawn_file_actions_init(&files);
        ::posix_spawnattr_init(&attributes);
    }
    ~spawn_plan() {
        ::posix_spawn_file_actions_destroy(&files);
        ::posix_spawnattr_destroy(&attributes);
    }
    spawn_plan(const spawn_plan &) = delete;
    spawn_plan &operator=(const spawn_plan &) = delete;

    void prepare(int output, int words) {
        ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        ::posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
        ::posix_spawn_file_actions_adddup2(&files, words, STDERR_FILENO);
        // Sockets of ours are not close-on-exec: a program that held one would keep a line open.
        ::posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
        sigset_t none;
        sigset_t all;
        ::sigemptyset(&none);
        ::sigfillset(&all);
        ::posix_spawnattr_setsigmask(&attributes, &none);
        ::posix_spawnattr_setsigdefault(&attributes, &all);
        ::posix_spawnattr_setpgroup(&attributes, 0);
        ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETPGROUP);
    }
};

/// The path of a program; the name itself when it is nowhere.
std::string path_of(const std::string &name) {
    if (name.contains('/')) {
        return name;
    }
    const char *path = std::getenv("PATH");
    std::string rest = std::string(path != nullptr ? path : "/usr/bin:/bin") + ":/usr/sbin:/sbin";
    while (!rest.empty()) {
        const auto colon = rest.find(':');
        const std::string found = rest.substr(0, colon) + "/" + name;
        if (::access(found.c_str(), X_OK) == 0) {
            return found;
        }
        rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    }
    return name;
}

int milliseconds_left(std::chrono::steady_clock::time_point end) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000));
}

/// Takes what is there; what does not fit is dropped. False: the other end is closed.
bool drain(int fd, std::string &into, std::size_t bytes_max) {
    std::array<char, 4096> some{};
    for (;;) {
        const ssize_t got = ::read(fd, some.data(), some.size());
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno == EAGAIN;
        }
        if (got == 0) {
            return false;
        }
        into.append(some.data(), std::min(static_cast<std::size_t>(got), bytes_max - into.size()));
    }
}

} // namespace

program::program(std::string name, pid_t pid, unique_fd handle, unique_fd output, unique_fd words)
    : name_(std::move(name)), pid_(pid), handle_(std::move(handle)), output_(std::move(output)),
      words_(std::move(words)) {}

program::~program() {
    if (running()) {
        kill_group(SIGKILL);
        static_cast<void>(wait(kill_patience));
    }
}

result<std::unique_ptr<program>> program::start(const std::vector<std::string> &argv) {
    return start(argv, true);
}

result<std::unique_ptr<program>> program::start(const std::vector<std::string> &argv,
                                                bool never_waits) {
    REPL_ASSERT(!argv.empty());
    may_block();
    std::array<int, 2> out{};
    std::array<int, 2> err{};
    if (::pipe2(out.data(), O_CLOEXEC) != 0) {
        return fail_errno(errno, "can't make a pipe for " + argv[0]);
    }
    unique_fd out_read(out[0]);
    const unique_fd out_write(out[1]);
    if (::pipe2(err.data(), O_CLOEXEC) != 0) {
        return fail_errno(errno, "can't make a pipe for " + argv[0]);
    }
    unique_fd err_read(err[0]);
    const unique_fd err_write(err[1]);
    for (const int fd : {out[0], err[0]}) {
        ::fcntl(fd, F_SETFL, O_NONBLOCK);
    }
    for (const int fd : {out[1], err[1]}) { // nobody may read for long: its words are lost then
        if (never_waits) {
            ::fcntl(fd, F_SETFL, O_NONBLOCK);
        }
    }
    spawn_plan plan;
    plan.prepare(out[1], err[1]);
    std::vector<std::string> copies = argv;
    std::vector<char *> pointers;
    for (std::string &word : copies) {
        pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    pid_t pid = -1;
    if (const int why = ::posix_spawn(&pid, path_of(argv[0]).c_str(), &plan.files, &plan.attributes,
                                      pointers.data(), environ);
        why != 0) {
        return fail_errno(why, "can't run " + argv[0]);
    }
    unique_fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const int why = errno;
    std::unique_ptr<program> started(
        new program(argv[0], pid, std::move(handle), std::move(out_read), std::move(err_read)));
    if (!started->handle_) {
        return fail_errno(why, "can't watch " + argv[0]);
    }
    return started;
}

void program::kill_group(int signal) {
    ::kill(-pid_, signal);
    ::kill(pid_, signal); // it may not be the leader of its group yet
}

bool program::running() {
    if (!code_) {
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) == pid_) {
            code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
    return !code_;
}

/// True: it ended.
bool program::wait(duration patience) {
    may_block();
    const auto end = std::chrono::steady_clock::now() + patience;
    while (running()) {
        pollfd ended{handle_.get(), POLLIN, 0};
        if (::poll(&ended, 1, milliseconds_left(end)) == 0) {
            return !running();
        }
    }
    return true;
}

bool program::stop(duration patience) {
    if (!running()) {
        return true;
    }
    kill_group(SIGTERM);
    if (wait(patience)) {
        return true;
    }
    kill_group(SIGKILL);
    return wait(kill_patience);
}

std::string program::words() {
    std::string said;
    drain(words_.get(), said, program_limits{}.output_bytes_max);
    return said;
}

std::string program::output() {
    std::string said;
    drain(output_.get(), said, program_limits{}.output_bytes_max);
    return said;
}

result<program_end> run_program(const std::vector<std::string> &argv, program_limits limits) {
    FS_TRY(running, program::start(argv, false));
    program &child = *running;
    program_end end;
    const auto until = std::chrono::steady_clock::now() + limits.patience;
    bool out_open = true;
    bool err_open = true;
    // What it started may keep the pipes: its own end counts.
    while (child.running() && !end.timed_out) {
        std::array<pollfd, 3> wait{pollfd{child.handle_.get(), POLLIN, 0},
                                   pollfd{out_open ? child.output_.get() : -1, POLLIN, 0},
                                   pollfd{err_open ? child.words_.get() : -1, POLLIN, 0}};
        end.timed_out = ::poll(wait.data(), wait.size(), milliseconds_left(until)) == 0 ||
                        std::chrono::steady_clock::now() >= until;
        out_open = out_open && drain(child.output_.get(), end.output, limits.output_bytes_max);
        err_open = err_open && drain(child.words_.get(), end.words, limits.output_bytes_max);
    }
    if (child.running()) {
        child.kill_group(SIGKILL);
        if (!child.wait(kill_patience)) {
            return fail(errc::timeout, argv[0] + " waits in the kernel and can't be ended");
        }
    } else {
        end.timed_out = false;
    }
    drain(child.output_.get(), end.output, limits.output_bytes_max);
    drain(child.words_.get(), end.words, limits.output_bytes_max);
    end.code = *child.code_;
    return end;
}

std::string failure_of(const std::string &name, const program_end &end) {
    if (end.code == 0 && !end.timed_out) {
        return "";
    }
    std::string said = end.words.empty() ? end.output : end.words;
    while (!said.empty() && (said.back() == '\n' || said.back() == ' ')) {
        said.pop_back();
    }
    std::string text =
        name + (end.timed_out    ? " did not end in time"
                : end.code > 128 ? " was ended by signal " + std::to_string(end.code - 128)
                                 : " failed (" + std::to_string(end.code) + ")");
    return said.empty() ? text : text + ": " + clean_text(said, 500);
}

} // namespace farshore
