#include "replicator/nbd/listener.hpp"

#include <cerrno>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace farshore::nbd {

namespace {

constexpr int socket_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

template <class Address>
sockaddr *as_sockaddr(Address &address) {
    // NOLINTNEXTLINE(bugprone-casting-through-void): the sockets API's own idiom
    return static_cast<sockaddr *>(static_cast<void *>(&address));
}

sockaddr_un unix_address(const std::string &path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
}

/// Makes way at the path: nothing there, or a socket that nobody answers on.
result<> clear_stale(const std::string &path) {
    struct stat existing{};
    if (::lstat(path.c_str(), &existing) != 0) {
        return errno == ENOENT ? result<>{} : fail_errno(errno, path);
    }
    if (!S_ISSOCK(existing.st_mode)) {
        return fail(errc::invalid, path + " exists and is not a socket");
    }
    const unique_fd probe(::socket(AF_UNIX, SOCK_STREAM | socket_flags, 0));
    if (!probe) {
        return fail_errno(errno, path);
    }
    sockaddr_un address = unix_address(path);
    // EAGAIN: somebody listens, too busy to take us.
    if (::connect(probe.get(), as_sockaddr(address), sizeof address) == 0 || errno == EAGAIN) {
        return fail(errc::busy, path + ": another process serves this socket");
    }
    if (errno != ECONNREFUSED) {
        return fail_errno(errno, path);
    }
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
        return fail_errno(errno, path);
    }
    return {};
}

std::uint16_t port_of(int fd) {
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    if (::getsockname(fd, as_sockaddr(bound), &length) != 0) {
        return 0;
    }
    if (bound.ss_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &bound, sizeof v6);
        return ntohs(v6.sin6_port);
    }
    sockaddr_in v4{};
    std::memcpy(&v4, &bound, sizeof v4);
    return ntohs(v4.sin_port);
}

void set_option(int fd, int level, int name) {
    const int on = 1;
    // Tuning only: the stream works without.
    static_cast<void>(::setsockopt(fd, level, name, &on, sizeof on));
}

} // namespace

listening_socket::listening_socket(listening_socket &&o) noexcept
    : fd_(std::move(o.fd_)), port_(o.port_), unix_path_(std::move(o.unix_path_)),
      device_(o.device_), inode_(o.inode_) {
    o.inode_ = 0;
}

listening_socket::~listening_socket() {
    struct stat existing{};
    if (inode_ != 0 && ::lstat(unix_path_.c_str(), &existing) == 0 && existing.st_dev == device_ &&
        existing.st_ino == inode_) {
        ::unlink(unix_path_.c_str());
    }
}

result<listening_socket> listening_socket::open(const endpoint &where) {
    return where.unix_path.empty() ? open_tcp(where) : open_unix(where.unix_path);
}

result<listening_socket> listening_socket::open_unix(const std::string &path) {
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
        return fail(errc::invalid, path + ": socket path too long");
    }
    FS_CHECK(clear_stale(path));
    listening_socket s;
    s.fd_ = unique_fd(::socket(AF_UNIX, SOCK_STREAM | socket_flags, 0));
    sockaddr_un address = unix_address(path);
    // The mode of an unbound socket becomes the mode of the file that bind makes: no moment in
    // which others could connect.
    if (!s.fd_ || ::fchmod(s.fd(), 0600) != 0 ||
        ::bind(s.fd(), as_sockaddr(address), sizeof address) != 0) {
        return fail_errno(errno, path);
    }
    struct stat made{};
    if (::lstat(path.c_str(), &made) == 0) {
        s.device_ = made.st_dev;
        s.inode_ = made.st_ino;
    }
    s.unix_path_ = path;
    if (::listen(s.fd(), SOMAXCONN) != 0) {
        return fail_errno(errno, path);
    }
    return s;
}

result<listening_socket> listening_socket::open_tcp(const endpoint &where) {
    const std::string port = std::to_string(where.port);
    const std::string name = where.host + ":" + port;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo *found = nullptr;
    if (const int rc = ::getaddrinfo(where.host.c_str(), port.c_str(), &hints, &found); rc != 0) {
        return fail(errc::invalid, name + ": " + ::gai_strerror(rc));
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    int reason = EADDRNOTAVAIL;
    for (const addrinfo *a = found; a != nullptr; a = a->ai_next) {
        listening_socket s;
        s.fd_ = unique_fd(::socket(a->ai_family, SOCK_STREAM | socket_flags, 0));
        if (s.fd_) {
            set_option(s.fd(), SOL_SOCKET, SO_REUSEADDR);
        }
        if (!s.fd_ || ::bind(s.fd(), a->ai_addr, a->ai_addrlen) != 0 ||
            ::listen(s.fd(), SOMAXCONN) != 0) {
            reason = errno;
            continue;
        }
        s.port_ = port_of(s.fd());
        return s;
    }
    return reason == EADDRINUSE ? fail(errc::busy, name + ": the port is in use")
                                : fail_errno(reason, name);
}

result<unique_fd> listening_socket::accept() {
    unique_fd client(::accept4(fd(), nullptr, nullptr, socket_flags));
    if (!client) {
        return fail_errno(errno, "accept");
    }
    if (tcp()) {
        set_option(client.get(), IPPROTO_TCP, TCP_NODELAY);
        set_option(client.get(), SOL_SOCKET, SO_KEEPALIVE); // a host that died frees its place
    }
    return client;
}

} // namespace farshore::nbd
