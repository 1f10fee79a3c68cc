#include "bench/wan/tun.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace farshore::wan {
namespace {

/// The thread is in another network namespace while this lives.
class inside_netns {
  public:
    static result<inside_netns> enter(const std::string &name) {
        inside_netns guard;
        if (name.empty()) {
            return guard;
        }
        guard.home_ = unique_fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        unique_fd there(::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
        if (!guard.home_ || !there || ::setns(there.get(), CLONE_NEWNET) != 0) {
            const int number = errno;
            guard.home_.reset();
            return fail_errno(number, "network namespace " + name);
        }
        return guard;
    }
    inside_netns(inside_netns &&) noexcept = default;
    ~inside_netns() {
        if (home_ && ::setns(home_.get(), CLONE_NEWNET) != 0) {
            std::abort(); // going on in the wrong namespace would configure somebody else's network
        }
    }

  private:
    inside_netns() = default;
    unique_fd home_;
};

void set_name(ifreq &request, const std::string &name) {
    std::memset(&request, 0, sizeof request);
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
}

bool set_ipv4(int sock, unsigned long what, const std::string &device, in_addr value) {
    ifreq request;
    set_name(request, device);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr = value;
    std::memcpy(&request.ifr_addr, &where, sizeof where);
    return ::ioctl(sock, what, &request) == 0;
}

result<> configure(const tun_options &o) {
    unique_fd sock(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!sock) {
        return fail_errno(errno, "socket");
    }
    in_addr address{};
    if (::inet_pton(AF_INET, o.address.c_str(), &address) != 1 || o.prefix < 1 || o.prefix > 31) {
        return fail(errc::invalid, "address " + o.address);
    }
    const in_addr mask{htonl(~((1U << (32 - o.prefix)) - 1))};
    ifreq mtu;
    set_name(mtu, o.device);
    mtu.ifr_mtu = o.mtu;
    ifreq queue;
    set_name(queue, o.device);
    queue.ifr_qlen = o.queue_packets;
    ifreq up;
    set_name(up, o.device);
    up.ifr_flags = IFF_UP | IFF_RUNNING;
    if (!set_ipv4(sock.get(), SIOCSIFADDR, o.device, address) ||
        !set_ipv4(sock.get(), SIOCSIFNETMASK, o.device, mask) ||
        ::ioctl(sock.get(), SIOCSIFMTU, &mtu) != 0 ||
        ::ioctl(sock.get(), SIOCSIFTXQLEN, &queue) != 0 ||
        ::ioctl(sock.get(), SIOCSIFFLAGS, &up) != 0) {
        return fail_errno(errno, "configure " + o.device);
    }
    return {};
}

std::uint16_t checksum(const unsigned char *bytes, std::size_t length) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < length; i += 2) {
        sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
    }
    if (length % 2 != 0) {
        sum += static_cast<std::uint32_t>(bytes[length - 1] << 8);
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(~sum);
}

void put16(unsigned char *at, std::size_t value) {
    at[0] = static_cast<unsigned char>(value >> 8);
    at[1] = static_cast<unsigned char>(value);
}

} // namespace

result<unique_fd> open_tun(const tun_options &options) {
    FS_TRY(guard, inside_netns::enter(options.netns));
    unique_fd tun(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!tun) {
        return fail_errno(errno, "/dev/net/tun");
    }
    ifreq request;
    set_name(request, options.device);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (::ioctl(tun.get(), TUNSETIFF, &request) != 0) {
        return fail_errno(errno, "TUN device " + options.device);
    }
    FS_CHECK(configure(options));
    return tun;
}

std::size_t make_unreachable(const unsigned char *packet, std::size_t length, std::uint32_t router,
                             unsigned char *out) {
    if (length < 20 || packet[0] >> 4 != 4 || packet[9] == 1) {
        return 0;
    }
    const std::size_t header = std::size_t{4} * (packet[0] & 15U);
    const std::size_t quoted = std::min(length, header + 8);
    const std::size_t total = 20 + 8 + quoted;
    std::memset(out, 0, 28);
    out[0] = 0x45;
    put16(out + 2, total);
    out[8] = 64; // time to live
    out[9] = 1;  // ICMP
    std::memcpy(out + 12, &router, 4);
    std::memcpy(out + 16, packet + 12, 4);
    put16(out + 10, checksum(out, 20));
    out[20] = 3; // destination unreachable
    out[21] = 1; // host
    std::memcpy(out + 28, packet, quoted);
    put16(out + 22, checksum(out + 20, total - 20));
    return total;
}

} // namespace farshore::wan
