#include "replicator/hook/script_process.hpp"

#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace farshore::hook {
namespace {

constexpr int not_started = 127; ///< as a shell says it
constexpr std::size_t output_bytes_max = 64 * 1024;
constexpr std::size_t line_bytes_max = 1024;
constexpr int groups_max = 256;

struct identity {
    std::string name = "root";
    std::string home = "/";
    bool changes = false;
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;
};

result<identity> identity_of(const std::string &user) {
    identity who;
    errno = 0;
    const passwd *entry = user.empty() ? ::getpwuid(::geteuid()) : ::getpwnam(user.c_str());
    if (entry == nullptr) {
        return user.empty() ? result<identity>(who)
                            : refusal(fmt::format("there is no user {} to run the script", user));
    }
    who.name = entry->pw_name;
    who.home = entry->pw_dir;
    who.uid = entry->pw_uid;
    who.gid = entry->pw_gid;
    who.changes = !user.empty() && who.uid != ::geteuid();
    int count = groups_max;
    who.groups.resize(groups_max);
    if (::getgrouplist(who.name.c_str(), who.gid, who.groups.data(), &count) < 0) {
        return refusal(fmt::format("the user {} is in too many groups", user));
    }
    who.groups.resize(std::size_t(count));
    return who;
}

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

std::vector<char *> pointers(const std::vector<std::string> &texts) {
    std::vector<char *> all;
    for (const std::string &one : texts) {
        all.push_back(const_cast<char *>(one.c_str())); // execve does not change them
    }
    all.push_back(nullptr);
    return all;
}

struct child_files {
    int go;
    int input;
    int output;
    int words;
};

void say_and_end(const char *what) {
    const char *why = ::strerror(errno);
    static_cast<void>(!::write(STDERR_FILENO, what, std::strlen(what)));
    static_cast<void>(!::write(STDERR_FILENO, ": ", 2));
    static_cast<void>(!::write(STDERR_FILENO, why, std::strlen(why)));
    ::_exit(not_started);
}

/// In the child: nothing is allocated any more.
[[noreturn]] void become(const child_files &files, const identity &who, char *const *words,
                         char *const *environment) {
    char one = 0;
    if (::read(files.go, &one, 1) != 1) {
        ::_exit(not_started); // who made us is gone
    }
    ::dup2(files.input, STDIN_FILENO);
    ::dup2(files.output, STDOUT_FILENO);
    ::dup2(files.words, STDERR_FILENO);
    ::close_range(STDERR_FILENO + 1, ~0U, 0);
    for (int signal = 1; signal < NSIG; ++signal) {
        ::signal(signal, SIG_DFL);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (who.changes && (::setgroups(who.groups.size(), who.groups.data()) != 0 ||
                        ::setgid(who.gid) != 0 || ::setuid(who.uid) != 0)) {
        say_and_end("can't become the user of the script");
    }
    if (::chdir("/") != 0) {
        say_and_end("/");
    }
    ::execve(words[0], words, environment);
    say_and_end(words[0]);
    ::_exit(not_started);
}

} // namespace

script_process::script_process(pid_t pid, unique_fd go, unique_fd input, unique_fd output,
                               unique_fd words)
    : pid_(pid), go_(std::move(go)), input_(std::move(input)), output_(std::move(output)),
      words_(std::move(words)) {}
script_process::script_process(script_process &&other) noexcept = default;
script_process::~script_process() = default;

result<script_process> script_process::prepare(const script_plan &plan) {
    FS_TRY(who, identity_of(plan.user));
    FS_TRY(go, make_pipe());
    FS_TRY(input, make_pipe());
    FS_TRY(output, make_pipe());
    FS_TRY(words, make_pipe());
    ::fcntl(output.read.get(), F_SETFL, O_NONBLOCK);
    // Nobody reads its errors before it ended: what does not fit is lost, and it is not stopped.
    ::fcntl(words.read.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(words.write.get(), F_SETFL, O_NONBLOCK);
    std::vector<std::string> environment{
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
        "HOME=" + who.home, "USER=" + who.name, "LOGNAME=" + who.name};
    environment.insert(environment.end(), plan.environment.begin(), plan.environment.end());
    const auto argv = pointers(plan.words);
    const auto envp = pointers(environment);
    const pid_t pid = ::fork();
    if (pid < 0) {
        return fail_errno(errno, "starting " + plan.words.front());
    }
    if (pid == 0) {
        ::setpgid(0, 0);
        go.write.reset();
        become({go.read.get(), input.read.get(), output.write.get(), words.write.get()}, who,
               argv.data(), envp.data());
    }
    ::setpgid(pid, pid); // both do, so that neither has to wait for the other
    return script_process(pid, std::move(go.write), std::move(input.write), std::move(output.read),
                          std::move(words.read));
}

result<> script_process::go() {
    if (::write(go_.get(), "g", 1) != 1) {
        return fail_errno(errno, "starting the script");
    }
    go_.reset();
    return {};
}

result<std::optional<std::string>> script_process::line(const tether &t) {
    for (;;) {
        const auto end = kept_.find('\n');
        if (std::min(end, kept_.size()) > line_bytes_max || heard_ > output_bytes_max) {
            return refusal("the script prints more than it may");
        }
        if (end != std::string::npos) {
            std::string one = kept_.substr(0, end);
            kept_.erase(0, end + 1);
            return one;
        }
        FS_CHECK(t.wait(output_.get(), POLLIN));
        std::array<char, 4096> some{};
        const ssize_t got = ::read(output_.get(), some.data(), some.size());
        if (got > 0) {
            kept_.append(some.data(), std::size_t(got));
            heard_ += std::size_t(got);
        } else if (got == 0) {
            return std::nullopt;
        } else if (errno != EAGAIN && errno != EINTR) {
            return fail_errno(errno, "the output of the script");
        }
    }
}

result<> script_process::tell(const std::string &line) {
    const std::string text = line + "\n"; // a few bytes: an empty pipe takes them
    if (::write(input_.get(), text.data(), text.size()) != ssize_t(text.size())) {
        return fail_errno(errno, "the input of the script");
    }
    return {};
}

std::optional<int> script_process::ended() {
    if (!code_) {
        siginfo_t how{};
        if (::waitid(P_PID, id_t(pid_), &how, WEXITED | WNOHANG | WNOWAIT) != 0 ||
            how.si_pid != pid_) {
            return std::nullopt;
        }
        ::kill(-pid_, SIGKILL); // before its number is free for others
        ::waitpid(pid_, nullptr, 0);
        code_ = how.si_code == CLD_EXITED ? how.si_status : 128 + how.si_status;
    }
    return code_;
}

result<int> script_process::await_end(const tether &t) {
    for (;;) {
        if (const auto code = ended()) {
            return *code;
        }
        FS_CHECK(t.sleep(std::chrono::milliseconds(2)));
    }
}

void script_process::kill() {
    if (!code_) {
        ::kill(-pid_, SIGKILL);
    }
}

std::string script_process::last_words() {
    std::string all(output_bytes_max, '\0');
    const ssize_t got = ::read(words_.get(), all.data(), all.size());
    all.resize(got > 0 ? std::size_t(got) : 0);
    while (all.ends_with('\n')) {
        all.pop_back();
    }
    return all.substr(all.rfind('\n') == std::string::npos ? 0 : all.rfind('\n') + 1);
}

void kill_script(pid_t group) {
    siginfo_t how{};
    if (::waitid(P_PID, id_t(group), &how, WEXITED | WNOHANG | WNOWAIT) == 0) {
        ::kill(-group, SIGKILL);
        ::waitpid(group, nullptr, 0);
    }
}

} // namespace farshore::hook
