#pragma once
// What server and client share about Unix sockets: addresses, and whether somebody listens.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"

#include <string>
#include <sys/socket.h>
#include <sys/un.h>

namespace farshore::control {

/// errc::invalid when the path is empty or longer than a socket address can hold (107 bytes).
result<sockaddr_un> socket_address(const std::string &path);
/// How long somebody who listens may take to have room for one more: a stopped daemon's queue stays
/// full.
constexpr duration connect_limit = std::chrono::seconds(5);
/// A blocking connection, made within `limit`: errc::timeout when somebody listens and takes
/// nobody. Other errors: the errno of connect, with the path.
result<unique_fd> connect_to(const std::string &path, duration limit = connect_limit);
/// Makes the path free to bind: removes a socket that nobody answers on. errc::busy when somebody
/// does, errc::invalid when the path is something else than a socket (left alone).
result<> clear_stale_socket(const std::string &path);

} // namespace farshore::control
