#include "replicator/daemon/notify.hpp"

#include "replicator/base/unique_fd.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <sys/socket.h>
#include <sys/un.h>

namespace farshore {

void notify_service_manager(const std::string &state) {
    const char *variable = std::getenv("NOTIFY_SOCKET");
    const std::string path = variable != nullptr ? variable : "";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() < 2 || path.size() >= sizeof address.sun_path ||
        (path[0] != '/' && path[0] != '@')) {
        return;
    }
    std::ranges::copy(path, address.sun_path);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; // an abstract socket
    }
    const unique_fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd) {
        return;
    }
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    const auto *generic = static_cast<const sockaddr *>(static_cast<const void *>(&address));
    static_cast<void>(::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                               generic, length));
}

} // namespace farshore
