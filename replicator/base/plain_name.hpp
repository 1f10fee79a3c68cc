#pragma once
// Names of groups and volumes. They stand in file names, URIs, messages and logs of both sites, so
// they are plain wherever they come from: a configuration or a peer.

#include "replicator/base/limits.hpp"

#include <algorithm>
#include <string_view>

namespace farshore {

/// For messages.
constexpr const char *plain_name_rule =
    "letters, digits, '.', '_' and '-', a letter or digit first, at most 64";

constexpr bool is_plain_name(std::string_view name) {
    const auto alphanumeric = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    return !name.empty() && name.size() <= limits::name_bytes_max && alphanumeric(name.front()) &&
           std::ranges::all_of(
               name, [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

} // namespace farshore
