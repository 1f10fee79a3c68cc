#include "replicator/demo/process.hpp"

#include "replicator/base/unique_fd.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace farshore::demo {
namespace {

constexpr auto poll_every = std::chrono::milliseconds(10);

/// In the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(char *const *argv, int log, pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) {
        ::_exit(127);
    }
    // A group of its own: Ctrl-C reaches the demo only, which ends its children in order.
    ::setpgid(0, 0);
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    ::signal(SIGPIPE, SIG_DFL);
    const int null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, STDIN_FILENO);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    // Asio's sockets are not close-on-exec: a child that held one would keep a cut line open.
    ::close_range(STDERR_FILENO + 1, ~0U, 0);
    ::execvp(argv[0], argv);
    ::_exit(127);
}

} // namespace

child::child(child &&o) noexcept : pid_(std::exchange(o.pid_, -1)) {}

child &child::operator=(child &&o) noexcept {
    if (this != &o) {
        kill_now();
        pid_ = std::exchange(o.pid_, -1);
    }
    return *this;
}

result<child> child::start(const std::vector<std::string> &argv, const std::string &log) {
    const unique_fd out(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!out) {
        return fail_errno(errno, log);
    }
    std::vector<std::string> copies = argv;
    std::vector<char *> pointers;
    for (std::string &word : copies) {
        pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
        return fail_errno(errno, argv.front());
    }
    if (pid == 0) {
        become(pointers.data(), out.get(), parent);
    }
    child c;
    c.pid_ = pid;
    return c;
}

bool child::running() {
    if (pid_ < 0) {
        return false;
    }
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == 0) {
        return true;
    }
    pid_ = -1;
    return false;
}

void child::kill_now() {
    if (pid_ >= 0) {
        ::kill(pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
    }
}

int child::stop(std::chrono::milliseconds patience) {
    if (pid_ < 0) {
        return -1;
    }
    ::kill(pid_, SIGTERM);
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) == pid_) {
            pid_ = -1;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
        if (std::chrono::steady_clock::now() > end) {
            kill_now();
            return -1;
        }
        std::this_thread::sleep_for(poll_every);
    }
}

int run_program(const std::vector<std::string> &argv, const std::string &log,
                std::chrono::seconds patience) {
    auto c = child::start(argv, log);
    if (!c) {
        return -1;
    }
    const pid_t pid = c->pid();
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
        int status = 0;
        // Only looks (WNOWAIT): reaping is the object's business.
        siginfo_t info{};
        if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == pid) {
            status = info.si_code == CLD_EXITED ? info.si_status : -1;
            return status;
        }
        if (std::chrono::steady_clock::now() > end) {
            return -1;
        }
        std::this_thread::sleep_for(poll_every);
    }
}

bool have_program(const std::string &name) {
    const char *path = std::getenv("PATH");
    std::string rest = std::string(path != nullptr ? path : "") + ":/usr/sbin:/sbin";
    while (!rest.empty()) {
        const auto colon = rest.find(':');
        const std::string directory = rest.substr(0, colon);
        if (!directory.empty() && ::access((directory + "/" + name).c_str(), X_OK) == 0) {
            return true;
        }
        rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    }
    return false;
}

std::string own_directory() {
    std::error_code ec;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", ec);
    return ec ? "." : self.parent_path().string();
}

} // namespace farshore::demo
