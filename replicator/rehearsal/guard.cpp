#include "replicator/rehearsal/guard.hpp"

#include "replicator/rehearsal/namespaces.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace farshore::rehearsal {
namespace {

namespace fs = std::filesystem;
using monotonic = std::chrono::steady_clock;

constexpr int reap_every_ms = 500;              ///< what lost its parent
constexpr std::size_t output_piece = 64 * 1024; ///< of one look

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

/// Everything else of ours, such as the connection to the receiver, must not stay open here.
void close_all_but(std::vector<int> kept) {
    std::ranges::sort(kept);
    unsigned from = STDERR_FILENO + 1;
    for (const int fd : kept) {
        const auto here = static_cast<unsigned>(fd);
        if (here > from) {
            ::close_range(from, here - 1, 0);
        }
        from = std::max(from, here + 1);
    }
    ::close_range(from, ~0U, 0);
}

void tell(int fd, const std::string &line) {
    const std::string text = line + "\n";
    static_cast<void>(::write(fd, text.data(), text.size()) > 0);
}

struct guard_ends {
    int life;
    int told;
    int output;
};

[[noreturn]] void run_runner(const script_plan &plan, const workplace &place, bool namespaces,
                             guard_ends ends, pid_t guard) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // In a process namespace of its own the parent has no number.
    if (!namespaces && ::getppid() != guard) {
        ::_exit(1);
    }
    const std::function<void(const std::string &)> say = [&](const std::string &line) {
        tell(ends.told, line);
    };
    if (namespaces) {
        if (const auto done = enter_namespaces(place); !done) {
            say("trouble " + done.error().text());
            ::_exit(1);
        }
    }
    script_runner(plan, ends.output, say).run();
    ::_exit(0);
}

/// Until none is left: what a killed one leaves comes to us, for we take over.
void kill_all_below() {
    for (;;) {
        int status = 0;
        const pid_t ended = ::waitpid(-1, &status, WNOHANG);
        if (ended < 0 && errno == ECHILD) {
            return;
        }
        if (ended > 0) {
            continue;
        }
        for (const pid_t child : children_of_this_thread()) {
            ::kill(child, SIGKILL);
        }
        ::usleep(10'000);
    }
}

[[noreturn]] void run_guard(const script_plan &plan, const workplace &place, bool namespaces,
                            guard_ends ends) {
    ::setsid();
    close_all_but({ends.life, ends.told, ends.output});
    const int nothing = ::open("/dev/null", O_RDWR);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        ::dup2(nothing, fd);
    }
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
        ::signal(number, SIG_IGN);
    }
    ::signal(SIGCHLD, SIG_DFL);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t self = ::getpid();
    if (namespaces && ::unshare(CLONE_NEWPID) != 0) {
        tell(ends.told, "trouble a process namespace can't be made");
    } else {
        const pid_t runner = ::fork();
        if (runner == 0) {
            ::close(ends.life);
            run_runner(plan, place, namespaces, ends, self);
        }
        const unique_fd handle(static_cast<int>(::syscall(SYS_pidfd_open, runner, 0)));
        ::close(ends.output); // its end is the end of all who write to it
        std::array<pollfd, 2> wait{pollfd{ends.life, POLLIN, 0}, pollfd{handle.get(), POLLIN, 0}};
        int status = 0;
        while (runner > 0) {
            const int ready = ::poll(wait.data(), wait.size(), reap_every_ms);
            if (ready > 0 && wait[0].revents != 0) {
                break;
            }
            if (::waitpid(runner, &status, WNOHANG) == runner) {
                break;
            }
        }
    }
    kill_all_below();
    remove_workplace(place.base);
    ::_exit(0);
}

} // namespace

// ---- the directories
// -----------------------------------------------------------------------------------

result<std::string> make_workplace(const std::optional<script_user> &user) {
    const char *given = std::getenv("TMPDIR");
    std::string base =
        std::string(given != nullptr && *given == '/' ? given : "/tmp") + "/farshore-test-XXXXXX";
    if (::mkdtemp(base.data()) == nullptr) {
        return fail_errno(errno, "can't make a directory " + base);
    }
    const auto made = [&]() -> result<> {
        const std::string dir = base + "/dir";
        const std::string mnt = base + "/mnt";
        const unique_fd socket(
            ::open((base + "/nbd").c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
        if (!socket || ::mkdir(dir.c_str(), 0700) != 0 || ::mkdir(mnt.c_str(), 0711) != 0 ||
            ::chmod(base.c_str(), 0711) != 0 || ::chmod(mnt.c_str(), 0711) != 0) {
            return fail_errno(errno, "can't make the directories in " + base);
        }
        if (user && ::chown(dir.c_str(), user->uid, user->gid) != 0) {
            return fail_errno(errno, "can't give " + dir + " to " + user->name);
        }
        return {};
    }();
    if (!made) {
        remove_workplace(base);
        return std::unexpected(made.error());
    }
    return base;
}

void remove_workplace(const std::string &base) {
    std::error_code ignored;
    fs::remove_all(base, ignored);
}

// ---- the object
// ----------------------------------------------------------------------------------------

guarded_scripts::guarded_scripts(pid_t guard, unique_fd life, unique_fd told, unique_fd output)
    : guard_(guard), life_(std::move(life)), told_(std::move(told)), output_(std::move(output)) {}

result<std::unique_ptr<guarded_scripts>>
guarded_scripts::start(const script_plan &plan, const workplace &place, bool namespaces) {
    FS_TRY(life, make_pipe());
    FS_TRY(told, make_pipe());
    FS_TRY(output, make_pipe());
    const pid_t guard = ::fork();
    if (guard < 0) {
        return fail_errno(errno, "starting a process");
    }
    if (guard == 0) {
        life.write.reset(); // else it would never be closed
        run_guard(plan, place, namespaces, {life.read.get(), told.write.get(), output.write.get()});
    }
    for (const int fd : {told.read.get(), output.read.get()}) {
        ::fcntl(fd, F_SETFL, O_NONBLOCK);
    }
    return std::unique_ptr<guarded_scripts>(new guarded_scripts(
        guard, std::move(life.write), std::move(told.read), std::move(output.read)));
}

guarded_scripts::~guarded_scripts() {
    end();
    static_cast<void>(wait(std::chrono::seconds(30)));
}

guarded_scripts::news guarded_scripts::look(duration patience, int other) {
    news n;
    std::array<pollfd, 3> ends{pollfd{told_.get(), POLLIN, 0}, pollfd{output_.get(), POLLIN, 0},
                               pollfd{other, POLLIN, 0}};
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(patience).count();
    ::poll(ends.data(), ends.size(), static_cast<int>(ms));
    std::array<char, 4096> piece{};
    while (output_ && n.output.size() < output_piece) {
        const ssize_t got = ::read(output_.get(), piece.data(), piece.size());
        if (got > 0) {
            n.output.append(piece.data(), static_cast<std::size_t>(got));
            continue;
        }
        if (got == 0) {
            output_.reset();
        }
        break;
    }
    while (told_) {
        const ssize_t got = ::read(told_.get(), piece.data(), piece.size());
        if (got == 0) {
            told_.reset();
        }
        if (got <= 0) {
            break;
        }
        line_.append(piece.data(), static_cast<std::size_t>(got));
    }
    for (std::size_t at = 0; (at = line_.find('\n')) != std::string::npos;) {
        n.told.push_back(line_.substr(0, at));
        line_.erase(0, at + 1);
    }
    n.over = !told_ && !output_ && wait(duration{});
    return n;
}

bool guarded_scripts::wait(duration patience) {
    const auto until = monotonic::now() + patience;
    while (!reaped_) {
        int status = 0;
        const pid_t ended = ::waitpid(guard_, &status, WNOHANG);
        reaped_ = ended == guard_ || (ended < 0 && errno == ECHILD);
        if (reaped_ || monotonic::now() >= until) {
            break;
        }
        ::usleep(10'000);
    }
    return reaped_;
}

} // namespace farshore::rehearsal
