#include "replicator/hook/write_probe.hpp"

#include "replicator/hook/hook_limits.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace farshore::hook {
namespace {

constexpr const char *attribute = "user.farshore-hook.probe";

[[noreturn]] void try_to_write(int directory) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (directory > 0) {
        ::close_range(0, unsigned(directory) - 1, 0);
    }
    ::close_range(unsigned(directory) + 1, ~0U, 0);
    static_cast<void>(::fremovexattr(directory, attribute));
    ::_exit(0);
}

} // namespace

write_probe::~write_probe() {
    if (pid_ > 0 && !ended()) {
        ::kill(pid_, SIGKILL); // obeyed after the thaw
    }
}

result<> write_probe::start(int directory) {
    pid_ = ::fork();
    if (pid_ < 0) {
        return fail_errno(errno, "starting a process");
    }
    if (pid_ == 0) {
        try_to_write(directory);
    }
    return {};
}

bool write_probe::ended() {
    if (!ended_) {
        const pid_t gone = ::waitpid(pid_, nullptr, WNOHANG);
        ended_ = gone == pid_ || (gone < 0 && errno == ECHILD);
    }
    return ended_;
}

/// The kernel waits for freezes in a percpu semaphore. Where it does not tell what a process waits
/// for, waiting uninterruptibly must do.
bool write_probe::waits_for_a_thaw() const {
    std::ifstream place(fmt::format("/proc/{}/wchan", pid_));
    std::string name;
    std::getline(place, name);
    if (!name.empty() && name != "0") {
        return name.contains("percpu");
    }
    std::ifstream text(fmt::format("/proc/{}/stat", pid_));
    std::string line;
    std::getline(text, line);
    const auto behind = line.rfind(')'); // of the program's name, which may have any characters
    return behind != std::string::npos && line.substr(behind, 3) == ") D";
}

result<bool> write_probe::settle(const tether &t) {
    auto waits_since = tether::clock::time_point::max();
    for (;;) {
        if (ended()) {
            return false;
        }
        const auto now = tether::clock::now();
        if (!waits_for_a_thaw()) {
            waits_since = tether::clock::time_point::max();
        } else if (waits_since == tether::clock::time_point::max()) {
            waits_since = now;
        } else if (now - waits_since >= limits::look_every) {
            return true;
        }
        FS_CHECK(t.sleep(std::chrono::milliseconds(2)));
    }
}

} // namespace farshore::hook
