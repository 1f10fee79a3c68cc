#include "transport/tcp.hpp"

#include "replicator/base/log.hpp"
#include "transport/deadline.hpp"

#include <array>
#include <atomic>
#include <charconv>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace farshore::transport {
namespace {

constexpr int user_timeout_ms = 15'000;
constexpr int keep_alive_seconds = 5;
constexpr int unsent_bytes_max = 128 * 1024;
constexpr const char *congestion = "bbr";

void set_int(tcp_socket &socket, int level, int option, int value) {
    if (::setsockopt(socket.native_handle(), level, option, &value, sizeof value) != 0) {
        log::debug("socket option {}/{} is not available: {}", level, option, std::strerror(errno));
    }
}

void set_congestion(tcp_socket &socket) {
    if (::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_CONGESTION, congestion,
                     static_cast<socklen_t>(std::strlen(congestion))) == 0) {
        return;
    }
    const int cause = errno;
    static std::atomic<bool> said = false;
    if (!said.exchange(true)) {
        log::warning("TCP congestion control '{}' is not available here ({}): a lossy line will be "
                     "used badly; next step: modprobe tcp_bbr",
                     congestion, cause == ENOENT ? "not loaded" : std::strerror(cause));
    }
}

/// What a name resolves to. The look-up runs in a thread of Asio that can't be interrupted, so it
/// may outlive the wait for it.
struct look_up {
    explicit look_up(executor home) : resolver(std::move(home)) {}
    asio::ip::tcp::resolver resolver;
    condition done;
    bool complete = false;
    std::error_code code;
    std::vector<tcp_endpoint> endpoints;
};

task<result<std::vector<tcp_endpoint>>> resolve(executor home, time_source &time, address peer,
                                                time_point until) {
    std::error_code not_literal;
    const auto literal = asio::ip::make_address(peer.host, not_literal);
    if (!not_literal) {
        co_return std::vector{tcp_endpoint(literal, peer.port)};
    }
    const auto look = std::make_shared<look_up>(std::move(home));
    look->resolver.async_resolve(
        peer.host, std::to_string(peer.port), asio::ip::resolver_base::numeric_service,
        [look](std::error_code code, const asio::ip::tcp::resolver::results_type &found) {
            look->complete = true;
            look->code = code;
            for (const auto &entry : found) {
                look->endpoints.push_back(entry.endpoint());
            }
            look->done.notify_all();
        });
    while (!look->complete) {
        if (!co_await look->done.wait_until(time, until)) {
            co_return fail(errc::timeout, "can't reach " + to_text(peer) + ": looking up its name");
        }
    }
    if (look->code || look->endpoints.empty()) {
        co_return fail(errc::not_found, "can't reach " + to_text(peer) +
                                            ": no address known for '" + peer.host + "' (" +
                                            look->code.message() + ")");
    }
    co_return std::move(look->endpoints);
}

std::unexpected<error> unreachable(const address &peer, std::error_code code) {
    const bool refused = code == asio::error::connection_refused;
    return fail(std::error_code(code.value(), std::generic_category()),
                "can't reach " + to_text(peer) +
                    (refused ? " (is farshore-receiver running there?)" : ""));
}

struct gentle_end {
    gentle_end(tcp_socket s)
        : socket(std::move(s)), timer(socket.get_executor(), std::chrono::seconds(1)) {}
    tcp_socket socket;
    asio::steady_timer timer;
    std::array<std::byte, 8192> dropped;
    std::size_t dropped_bytes_left = 16 * 1024 * 1024;
};

void drop_input(const std::shared_ptr<gentle_end> &end) {
    end->socket.async_read_some(asio::buffer(end->dropped),
                                [end](std::error_code code, std::size_t count) {
                                    if (code || count > end->dropped_bytes_left) {
                                        end->timer.cancel();
                                        std::error_code ignored;
                                        end->socket.close(ignored);
                                        return;
                                    }
                                    end->dropped_bytes_left -= count;
                                    drop_input(end);
                                });
}

} // namespace

std::string to_text(const address &a) {
    const bool v6 = a.host.find(':') != std::string::npos;
    return (v6 ? "[" + a.host + "]" : a.host) + ":" + std::to_string(a.port);
}

std::string to_text(const tcp_endpoint &e) {
    return to_text(address{e.address().to_string(), e.port()});
}

result<address> parse_address(const std::string &text) {
    const auto invalid = [&](const char *why) {
        return fail(errc::invalid, "'" + text + "' is not HOST:PORT (" + why + ")");
    };
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos) {
        return invalid("no port");
    }
    std::string host = text.substr(0, colon);
    if (!host.empty() && host.front() == '[') {
        if (host.size() < 4 || host.back() != ']') {
            return invalid("brackets don't match");
        }
        host = host.substr(1, host.size() - 2);
        std::error_code code;
        asio::ip::make_address_v6(host, code);
        if (code) {
            return invalid("not an IPv6 address in the brackets");
        }
    } else if (host.find(':') != std::string::npos) {
        return invalid("an IPv6 address stands in brackets");
    }
    if (host.empty() || host.size() > 253 ||
        host.find_first_of(" \t\r\n/@[]") != std::string::npos) {
        return invalid("no valid host");
    }
    std::uint16_t port = 0;
    const char *first = text.data() + colon + 1;
    const char *last = text.data() + text.size();
    const auto [end, code] = std::from_chars(first, last, port);
    if (code != std::errc() || end != last) {
        return invalid("the port is a number up to 65535");
    }
    return address{std::move(host), port};
}

void set_tcp_options(tcp_socket &socket) {
    set_int(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(socket, IPPROTO_TCP, TCP_KEEPIDLE, keep_alive_seconds);
    set_int(socket, IPPROTO_TCP, TCP_KEEPINTVL, keep_alive_seconds);
    set_int(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms);
    set_int(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent_bytes_max);
    set_congestion(socket);
}

task<result<tcp_socket>> connect_tcp(executor home, time_source &time, address peer,
                                     time_point until) {
    FS_CO_TRY(endpoints, co_await resolve(home, time, peer, until));
    result<tcp_socket> outcome = fail(errc::timeout, "can't reach " + to_text(peer));
    for (std::size_t i = 0; i < endpoints.size() && time.now() < until; ++i) {
        tcp_socket socket(home);
        std::error_code code;
        socket.open(endpoints[i].protocol(), code);
        if (code) {
            outcome = unreachable(peer, code);
            continue;
        }
        set_tcp_options(socket);
        const duration share =
            (until - time.now()) / static_cast<std::int64_t>(endpoints.size() - i);
        const deadline limit(home, time, time.now() + share, [&socket] {
            std::error_code ignored;
            socket.cancel(ignored);
        });
        const auto [failure] = co_await socket.async_connect(endpoints[i], as_result);
        if (!failure) {
            co_return std::move(socket);
        }
        outcome = limit.expired()
                      ? result<tcp_socket>(fail(errc::timeout, "can't reach " + to_text(peer)))
                      : unreachable(peer, failure);
    }
    co_return outcome;
}

void close_gently(tcp_socket socket) {
    std::error_code code;
    socket.shutdown(tcp_socket::shutdown_send, code);
    if (code) {
        return; // not connected any more: the destructor closes it
    }
    const auto end = std::make_shared<gentle_end>(std::move(socket));
    end->timer.async_wait([end](std::error_code cancelled) {
        if (!cancelled) {
            std::error_code ignored;
            end->socket.close(ignored);
        }
    });
    drop_input(end);
}

} // namespace farshore::transport
