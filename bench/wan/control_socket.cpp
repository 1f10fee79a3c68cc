#include "bench/wan/control_socket.hpp"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace farshore::wan {

result<control_socket> control_socket::listen(const std::string &path) {
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    if (path.size() >= sizeof where.sun_path) {
        return fail(errc::limit, "socket path too long: " + path);
    }
    std::memcpy(where.sun_path, path.c_str(), path.size() + 1);
    control_socket made;
    made.listener_ = unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!made.listener_) {
        return fail_errno(errno, "socket");
    }
    ::unlink(path.c_str());
    const mode_t before = ::umask(0077);
    const int bound =
        ::bind(made.listener_.get(), reinterpret_cast<const sockaddr *>(&where), sizeof where);
    const int number = errno;
    ::umask(before);
    if (bound != 0 || ::listen(made.listener_.get(), clients_max) != 0) {
        return fail_errno(bound != 0 ? number : errno, path);
    }
    return made;
}

void control_socket::add_to(std::vector<pollfd> &polled) const {
    polled.push_back({listener_.get(), POLLIN, 0});
    for (const auto &c : clients_) {
        polled.push_back({c.fd.get(), POLLIN, 0});
    }
}

void control_socket::serve(const handler &answer) {
    while (clients_.size() < clients_max) {
        unique_fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!fd) {
            break;
        }
        clients_.push_back({std::move(fd), {}});
    }
    std::erase_if(clients_, [&](client &c) { return !serve_client(c, answer); });
}

bool control_socket::serve_client(client &c, const handler &answer) {
    char bytes[512];
    for (;;) {
        const ssize_t n = ::recv(c.fd.get(), bytes, sizeof bytes, 0);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        if (n == 0) {
            return false;
        }
        c.text.append(bytes, static_cast<std::size_t>(n));
        for (auto end = c.text.find('\n'); end != std::string::npos; end = c.text.find('\n')) {
            const auto reply = answer(c.text.substr(0, end)) + "\n";
            c.text.erase(0, end + 1);
            // A client that doesn't read its short answers is dropped, not waited for.
            if (::send(c.fd.get(), reply.data(), reply.size(), MSG_NOSIGNAL) !=
                static_cast<ssize_t>(reply.size())) {
                return false;
            }
        }
        if (c.text.size() > line_bytes_max) {
            return false;
        }
    }
}

} // namespace farshore::wan
