#pragma once
// Which daemon the CLI talks to when nobody said so: the one whose control socket is alone in
// /run/farshore. Sockets of volumes may stand there too; they are told apart because an NBD server
// speaks first and a control socket doesn't.

#include "replicator/control/control.hpp"

#include <expected>
#include <string>
#include <vector>

namespace farshore {

inline constexpr const char *socket_directory = "/run/farshore";

/// Control sockets that somebody answers on, sorted.
std::vector<std::string> find_control_sockets(const std::string &directory);
/// The only one, or a failure that lists what was found and points at --socket.
std::expected<std::string, control::failure> default_socket(const std::string &directory);

} // namespace farshore
