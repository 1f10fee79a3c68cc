#pragma once
// A TUN device inside a named network namespace, as a file descriptor of the calling process.

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"

#include <cstdint>
#include <string>

namespace farshore::wan {

struct tun_options {
    std::string netns;   ///< name under /run/netns; empty: the namespace of this process
    std::string device;  ///< interface name
    std::string address; ///< IPv4 of the interface
    int prefix = 24;
    int mtu = 1500;
    int queue_packets = 4000; ///< between the kernel's stack and our read
};

/// Makes the device, gives it its address and brings it up. Non-blocking. Needs CAP_SYS_ADMIN and
/// CAP_NET_ADMIN; the calling thread is back in its own namespace on every return. The device goes
/// with the descriptor.
result<unique_fd> open_tun(const tun_options &options);

/// The answer of a router to a packet that it can't forward: an ICMP "host unreachable" (RFC 792)
/// from `router` to the packet's source, written to `out` (at least 128 bytes). Returns its
/// length, 0 when the packet is not one to answer (not IPv4, or ICMP itself).
std::size_t make_unreachable(const unsigned char *packet, std::size_t length, std::uint32_t router,
                             unsigned char *out);

} // namespace farshore::wan
