#include "replicator/control/unix_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/stat.h>

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

result<unique_fd> connect_to(const std::string &path) {
    FS_TRY(address, socket_address(path));
    unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) {
        return fail_errno(errno, path);
    }
    const auto *generic = static_cast<const sockaddr *>(static_cast<const void *>(&address));
    if (::connect(fd.get(), generic, sizeof address) != 0) {
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
    if (probe) {
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
