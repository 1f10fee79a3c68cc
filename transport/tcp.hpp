#pragma once
// TCP below the links: options of a connection, names to endpoints, connecting with a deadline.

#include "replicator/base/async.hpp"
#include "transport/tls_link.hpp"

#include <string>
#include <vector>

namespace farshore::transport {

using tcp_socket = asio::ip::tcp::socket;
using tcp_endpoint = asio::ip::tcp::endpoint;

/// "host:port", with brackets around an IPv6 address.
std::string to_text(const address &a);
std::string to_text(const tcp_endpoint &e);

/// No delay, keep-alive, a peer that acknowledges nothing for 15 s is dead, at most 128 KiB unsent
/// in the kernel, BBR where it is offered (a warning once a process where not). What the system
/// refuses is left at its default: a connection that works is worth more.
void set_tcp_options(tcp_socket &socket);

/// A connected socket with its options set. Each address that the name has is tried in turn, within
/// its share of the time that is left. Errors are worded for the operator and name `peer`.
task<result<tcp_socket>> connect_tcp(executor home, time_source &time, address peer,
                                     time_point until);

/// Sends our end of stream, then reads and drops what still comes, for at most a second, so that
/// the peer gets all that was sent instead of a reset. Owns itself until then.
void close_gently(tcp_socket socket);

} // namespace farshore::transport
