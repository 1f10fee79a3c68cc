#pragma once
// The first line that farshore-hook reads: which application is frozen, and how
// (docs/hook-protocol.md). Nothing here looks at the host: what can be said of the words alone is
// said before anything is touched.

#include "replicator/base/error.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace farshore::hook {

enum class application : std::uint8_t {
    filesystem,
    postgresql,
    mariadb,
    redis,
    sqlite,
    qemu_guest_agent,
    script,
};

/// As in the configuration: "qemu-guest-agent".
std::string_view name_of(application type);

struct group_volume {
    std::string name;
    std::string path;
    bool operator==(const group_volume &) const = default;
};

struct request {
    std::string name;
    application type = application::script;
    std::chrono::milliseconds timeout{0};
    std::string group;
    std::string bookmark;
    std::string where;            ///< connect, mount, socket or file, as the type has it
    std::vector<std::string> run; ///< script: its words
    std::string user;             ///< script: who it runs as; empty: as this process
    bool outside = false;         ///< what lies outside the group's volumes is no reason to refuse
    std::vector<group_volume> volumes;
    std::vector<std::string> never; ///< paths whose file system must not be frozen
    bool operator==(const request &) const = default;
};

/// The request of one line, without its newline. The error names the key that is unknown, missing,
/// of another kind or beyond its limit.
result<request> parse_request(std::string_view line);

} // namespace farshore::hook
