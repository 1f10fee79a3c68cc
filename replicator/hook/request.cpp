#include "replicator/hook/request.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/control/json_guard.hpp"
#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <array>
#include <optional>

namespace farshore::hook {
namespace {

using nlohmann::json;

struct type_row {
    std::string_view name;
    application type;
    std::string_view key; ///< the one that says where it is
};
constexpr std::array types{
    type_row{"filesystem", application::filesystem, "mount"},
    type_row{"postgresql", application::postgresql, "connect"},
    type_row{"mariadb", application::mariadb, "connect"},
    type_row{"mysql", application::mariadb, "connect"},
    type_row{"redis", application::redis, "connect"},
    type_row{"sqlite", application::sqlite, "file"},
    type_row{"qemu-guest-agent", application::qemu_guest_agent, "socket"},
    type_row{"script", application::script, "run"},
};
/// Keys that every type may have.
constexpr std::array<std::string_view, 9> common{
    "version", "name", "type", "timeout_ms", "group", "bookmark", "outside", "volumes", "never"};
constexpr std::array<std::string_view, 6> some{"connect", "mount", "file", "socket", "run", "user"};

std::unexpected<error> bad(std::string_view key, std::string_view what) {
    return refusal(fmt::format("the request's key \"{}\" {}", key, what));
}

const type_row *row_of(std::string_view name) {
    for (const type_row &row : types) {
        if (row.name == name) {
            return &row;
        }
    }
    return nullptr;
}

/// Text without a NUL, which would end it early in a system call.
result<std::string> text_value(const json &value, std::string_view key, std::size_t bytes_max) {
    if (!value.is_string()) {
        return bad(key, "is no text");
    }
    const auto &text = value.get_ref<const std::string &>();
    if (text.empty()) {
        return bad(key, "is empty");
    }
    if (text.size() > bytes_max) {
        return bad(key, fmt::format("has more than {} bytes", bytes_max));
    }
    if (text.contains('\0')) {
        return bad(key, "has a NUL in it");
    }
    return text;
}

result<std::string> needed(const json &document, std::string_view key, std::size_t bytes_max) {
    const auto found = document.find(key);
    return found == document.end() ? result<std::string>(bad(key, "is missing"))
                                   : text_value(*found, key, bytes_max);
}

result<std::vector<std::string>> list_of(const json &document, std::string_view key,
                                         std::size_t count_max) {
    std::vector<std::string> all;
    const auto found = document.find(key);
    if (found == document.end()) {
        return all;
    }
    if (!found->is_array() || found->size() > count_max) {
        return bad(key, fmt::format("is no list of at most {} texts", count_max));
    }
    for (const json &item : *found) {
        FS_TRY(text, text_value(item, key, limits::path_bytes_max));
        all.push_back(std::move(text));
    }
    return all;
}

result<std::vector<group_volume>> volumes_of(const json &document) {
    std::vector<group_volume> all;
    const auto found = document.find("volumes");
    if (found == document.end()) {
        return all;
    }
    if (!found->is_array() || found->size() > limits::volumes_max) {
        return bad("volumes", fmt::format("is no list of at most {}", limits::volumes_max));
    }
    for (const json &item : *found) {
        if (!item.is_object() || item.size() != 2) {
            return bad("volumes", "has an entry that is not {\"name\", \"path\"}");
        }
        group_volume one;
        FS_TRY(name, needed(item, "name", limits::name_bytes_max));
        FS_TRY(path, needed(item, "path", limits::path_bytes_max));
        all.push_back({std::move(name), std::move(path)});
    }
    return all;
}

/// Every key is one that this type has.
result<> check_keys(const json &document, const type_row &type) {
    for (const auto &[key, value] : document.items()) {
        const auto in = [&](const auto &list) {
            return std::ranges::find(list, key) != list.end();
        };
        if (in(common) || key == type.key || (key == "user" && type.key == "run")) {
            continue;
        }
        return in(some) ? bad(key, fmt::format("does not belong to type {}", type.name))
                        : bad(clean_text(key, limits::fact_key_bytes_max), "is unknown");
    }
    return {};
}

result<std::chrono::milliseconds> timeout_of(const json &document) {
    const auto found = document.find("timeout_ms");
    if (found == document.end()) {
        return bad("timeout_ms", "is missing");
    }
    const auto least = limits::timeout_min.count();
    const auto most = limits::timeout_max.count();
    if (!found->is_number_unsigned() || found->get<std::uint64_t>() < std::uint64_t(least) ||
        found->get<std::uint64_t>() > std::uint64_t(most)) {
        return bad("timeout_ms", fmt::format("is no number from {} to {}", least, most));
    }
    return std::chrono::milliseconds(found->get<std::int64_t>());
}

result<> read_where(const json &document, const type_row &type, request &into) {
    if (type.type == application::script) {
        if (!document.contains("run")) {
            return bad("run", "is missing");
        }
        FS_TRY(run, list_of(document, "run", limits::words_max));
        if (run.empty() || run.front().front() != '/') {
            return bad("run", "does not begin with the full path of a program");
        }
        into.run = std::move(run);
        if (document.contains("user")) {
            FS_TRY(user, needed(document, "user", limits::name_bytes_max));
            into.user = std::move(user);
        }
        return {};
    }
    FS_TRY(where, needed(document, type.key, limits::path_bytes_max));
    if (type.key != "connect" && where.front() != '/') {
        return bad(type.key, "is no full path");
    }
    into.where = std::move(where);
    return {};
}

} // namespace

std::string_view name_of(application type) {
    for (const type_row &row : types) {
        if (row.type == type) {
            return row.name;
        }
    }
    return "";
}

result<request> parse_request(std::string_view line) {
    if (line.size() > limits::request_bytes_max) {
        return refusal(
            fmt::format("the request has more than {} bytes", limits::request_bytes_max));
    }
    FS_TRY(document, control::parse_json(line));
    if (!document.is_object()) {
        return refusal("the request is no JSON object");
    }
    const auto version = document.find("version");
    if (version == document.end() || *version != 1) {
        return bad("version", "is not 1");
    }
    FS_TRY(type_name, needed(document, "type", limits::name_bytes_max));
    const type_row *type = row_of(type_name);
    if (type == nullptr) {
        return bad("type", fmt::format("is \"{}\", which is no type of hook",
                                       clean_text(type_name, limits::fact_key_bytes_max)));
    }
    FS_CHECK(check_keys(document, *type));
    request all;
    all.type = type->type;
    FS_TRY(name, needed(document, "name", limits::name_bytes_max));
    FS_TRY(group, needed(document, "group", limits::name_bytes_max));
    FS_TRY(bookmark, needed(document, "bookmark", limits::name_bytes_max));
    FS_TRY(timeout, timeout_of(document));
    FS_CHECK(read_where(document, *type, all));
    FS_TRY(volumes, volumes_of(document));
    FS_TRY(never, list_of(document, "never", limits::never_max));
    if (const auto outside = document.find("outside"); outside != document.end()) {
        if (!outside->is_boolean()) {
            return bad("outside", "is neither true nor false");
        }
        all.outside = outside->get<bool>();
    }
    all.name = std::move(name);
    all.group = std::move(group);
    all.bookmark = std::move(bookmark);
    all.timeout = timeout;
    all.volumes = std::move(volumes);
    all.never = std::move(never);
    return all;
}

} // namespace farshore::hook
