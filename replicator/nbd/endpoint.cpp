#include "replicator/nbd/server.hpp"

#include <charconv>
#include <string_view>
#include <sys/un.h>

namespace farshore::nbd {

namespace {

constexpr std::size_t unix_path_max = sizeof(sockaddr_un::sun_path) - 1;

result<endpoint> parse_unix(const std::string &text, std::string_view path) {
    if (path.empty() || path.front() != '/') {
        return fail(errc::invalid, "'" + text + "': the socket needs an absolute path, unix:/PATH");
    }
    if (path.size() > unix_path_max) {
        return fail(errc::invalid, "'" + text + "': a socket path has at most " +
                                       std::to_string(unix_path_max) + " bytes");
    }
    if (path.find('\0') != path.npos) {
        return fail(errc::invalid, "socket path with a zero byte");
    }
    endpoint e;
    e.unix_path = path;
    return e;
}

result<endpoint> parse_tcp(const std::string &text, std::string_view rest) {
    const std::size_t colon = rest.rfind(':');
    if (colon == rest.npos) {
        return fail(errc::invalid, "'" + text + "': the port is missing, tcp:HOST:PORT");
    }
    std::string_view host = rest.substr(0, colon);
    const std::string_view port = rest.substr(colon + 1);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    } else if (host.find_first_of(":[]") != host.npos) {
        return fail(errc::invalid,
                    "'" + text + "': an IPv6 address stands in brackets, tcp:[::1]:PORT");
    }
    if (host.empty()) {
        return fail(errc::invalid, "'" + text + "': the host is missing, tcp:HOST:PORT");
    }
    endpoint e;
    e.host = host;
    const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), e.port);
    if (ec != std::errc{} || end != port.data() + port.size()) {
        return fail(errc::invalid, "'" + text + "': the port is a number from 0 to 65535");
    }
    return e;
}

bool unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._~").contains(c);
}

/// RFC 3986, section 2.1. `kept`: further bytes that stand for themselves.
std::string percent_encode(std::string_view text, std::string_view kept) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        if (unreserved(c) || kept.contains(c)) {
            out += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += '%';
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
    }
    return out;
}

} // namespace

result<endpoint> parse_endpoint(const std::string &text) {
    const std::string_view view = text;
    if (view.starts_with("unix:")) {
        return parse_unix(text, view.substr(5));
    }
    if (view.starts_with("tcp:")) {
        return parse_tcp(text, view.substr(4));
    }
    return fail(errc::invalid, "'" + text + "': expected unix:/PATH or tcp:HOST:PORT");
}

std::string export_uri(const endpoint &where, const std::string &export_name) {
    const std::string name = percent_encode(export_name, "/");
    if (!where.unix_path.empty()) {
        return "nbd+unix:///" + name + "?socket=" + percent_encode(where.unix_path, "/");
    }
    const bool v6 = where.host.contains(':');
    const std::string host =
        v6 ? "[" + percent_encode(where.host, ":") + "]" : percent_encode(where.host, "");
    return "nbd://" + host + ":" + std::to_string(where.port) + "/" + name;
}

} // namespace farshore::nbd
