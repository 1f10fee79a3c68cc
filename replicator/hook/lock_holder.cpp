#include "replicator/hook/lock_holder.hpp"

#include "replicator/base/unique_fd.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace farshore::hook {
namespace {

/// -errno, or the holder.
pid_t ask_here(const char *path, off_t byte) {
    const int fd = ::open(path, O_RDWR | O_CLOEXEC);
    struct flock one{};
    one.l_type = F_WRLCK;
    one.l_whence = SEEK_SET;
    one.l_start = byte;
    one.l_len = 1;
    if (fd < 0 || ::fcntl(fd, F_GETLK, &one) != 0) {
        return -errno;
    }
    return one.l_type == F_UNLCK ? 0 : one.l_pid;
}

} // namespace

result<pid_t> lock_holder(const std::string &path, off_t byte) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return fail_errno(errno, "a pipe");
    }
    const unique_fd from(ends[0]);
    unique_fd to(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) {
        return fail_errno(errno, "starting a process");
    }
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const pid_t holder = ask_here(path.c_str(), byte);
        ::_exit(::write(to.get(), &holder, sizeof holder) == ssize_t(sizeof holder) ? 0 : 1);
    }
    to.reset();
    pid_t holder = -EIO;
    const bool told = ::read(from.get(), &holder, sizeof holder) == ssize_t(sizeof holder);
    ::waitpid(child, nullptr, 0);
    if (!told || holder < 0) {
        return fail_errno(told ? -holder : EIO, path);
    }
    return holder;
}

} // namespace farshore::hook
