#include "replicator/rehearsal/script_environment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <set>
#include <unistd.h>

namespace farshore::rehearsal {
namespace {

constexpr std::string_view socket_key = "?socket=";

std::string variable_part(std::string_view volume) {
    std::string part;
    for (const char c : volume) {
        const auto u = static_cast<unsigned char>(c);
        part += std::isalnum(u) != 0 ? static_cast<char>(std::toupper(u)) : '_';
    }
    return part;
}

bool passed_on(const std::string &entry) {
    constexpr std::array own{"FARSHORE_", "NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_"};
    return std::ranges::none_of(own, [&](const char *p) { return entry.starts_with(p); });
}

} // namespace

std::vector<std::string> environment_of(const copy_facts &facts,
                                        const std::vector<std::string> &around) {
    std::vector<std::string> all;
    std::ranges::copy_if(around, std::back_inserter(all), passed_on);
    const auto set = [&](const std::string &name, const std::string &value) {
        all.push_back("FARSHORE_" + name + "=" + value);
    };
    set("GROUP", facts.group);
    set("POINT", facts.point);
    set("POINT_TIME", facts.time);
    set("POINT_KIND", facts.kind);
    set("POINT_NAME", facts.name);
    set("NBD_SOCKET", facts.socket);
    set("DIR", facts.directory);
    if (!facts.mount.empty()) {
        set("MOUNT", facts.mount);
    }
    std::string names;
    std::set<std::string> used;
    for (const copy_volume &v : facts.volumes) {
        names += (names.empty() ? "" : " ") + v.name;
        const std::string part = variable_part(v.name);
        std::string unique = part;
        for (int n = 2; !used.insert(unique).second; ++n) {
            unique = fmt::format("{}_{}", part, n);
        }
        set("URI_" + unique, v.uri);
        if (!v.mount.empty()) {
            set("MOUNT_" + unique, v.mount);
        }
    }
    set("VOLUMES", names);
    return all;
}

std::vector<std::string> own_environment() {
    std::vector<std::string> all;
    for (char **entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        all.emplace_back(*entry);
    }
    return all;
}

result<std::string> socket_of_uri(std::string_view uri) {
    const auto at = uri.find(socket_key);
    std::string path;
    if (at != std::string_view::npos) {
        const std::string_view text = uri.substr(at + socket_key.size());
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] != '%' || i + 2 >= text.size()) {
                path += text[i];
                continue;
            }
            unsigned value = 0;
            const char *hex = text.data() + i + 1;
            if (std::from_chars(hex, hex + 2, value, 16).ptr != hex + 2) {
                path += text[i];
                continue;
            }
            path += static_cast<char>(value);
            i += 2;
        }
    }
    if (path.empty() || path.find('\0') != std::string::npos) {
        return fail(errc::invalid, fmt::format("\"{}\" names no Unix socket", std::string(uri)));
    }
    return path;
}

std::string uri_at_socket(std::string_view uri, std::string_view socket) {
    std::string out(uri.substr(0, std::min(uri.find(socket_key), uri.size())));
    out += socket_key;
    for (const char c : socket) {
        const auto u = static_cast<unsigned char>(c);
        const bool plain = std::isalnum(u) != 0 || c == '/' || c == '-' || c == '_' || c == '.';
        out += plain ? std::string(1, c) : fmt::format("%{:02X}", u);
    }
    return out;
}

} // namespace farshore::rehearsal
