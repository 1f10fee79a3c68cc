#include "replicator/control/unix_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>

namespace farshore::control {

result<sockaddr_un> socket_address(const std::string &path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return fail(errc::invalid, path + " is no usable socket path (1 to 107 bytes)");
    }
    std::ranges::copy(path, address.sun_path);
    return address;
}

// A blocking connect waits for ever while the listener's queue is full; a non-blocking one says
// EAGAIN, and there is nothing to poll for.
result<unique_fd> connect_to(const std::string &path, duration limit) {
    FS_TRY(address, socket_address(path));
    unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return fail_errno(errno, path);
    }
    const auto *generic = static_cast<const sockaddr *>(static_cast<const void *>(&address));
    const auto until = std::chrono::steady_clock::now() + limit;
    while (::connect(fd.get(), generic, sizeof address) != 0) {
        const int cause = errno;
        if (cause != EAGAIN && cause != EINTR) {
            return fail_errno(cause, path);
        }
        if (std::chrono::steady_clock::now() >= until) {
            return fail(errc::timeout, path);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
        return fail_errno(errno, path);
    }
    return fd;
}

result<> clear_stale_socket(const std::string &path) {
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0) {
        if (errno == ENOENT) {
            return {};
        }
        return fail_errno(errno, path);
    }
    if (!S_ISSOCK(info.st_mode)) {
        return fail(errc::invalid, path + " exists and is no socket");
    }
    auto probe = connect_to(path);
    if (probe || is(probe.error(), errc::timeout)) {
        return fail(errc::busy, "another daemon answers on " + path);
    }
    if (!is_errno(probe.error(), ECONNREFUSED)) {
        return std::unexpected(std::move(probe).error());
    }
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
        return fail_errno(errno, path);
    }
    return {};
}

} // namespace farshore::control
