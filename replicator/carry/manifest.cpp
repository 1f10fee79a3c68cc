#include "replicator/carry/manifest.hpp"

#include "replicator/base/limits.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/carry/sha256.hpp"
#include "replicator/control/json_guard.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore::carry {
namespace {

using control::json;

constexpr const char *format_name = "farshore-group";
constexpr std::string_view image_suffix = ".img";
constexpr std::size_t sha256_digits = 64;

std::unexpected<error> damaged(const std::string &what) {
    return fail(errc::corrupt, fmt::format("{}: {}; nothing was kept. Take another copy of the "
                                           "stream, or export it again",
                                           manifest_name, what));
}

std::string text_in(const json &object, const char *key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

result<manifest_volume> volume_in(const json &v) {
    if (!v.is_object() || !v.contains("size") || !v["size"].is_number_unsigned()) {
        return damaged("a volume without name, size and sum");
    }
    manifest_volume out{text_in(v, "name"), v["size"].get<std::uint64_t>(), text_in(v, "sha256")};
    if (!is_plain_name(out.name) || out.size > limits::volume_bytes_max ||
        out.sha256.size() != sha256_digits) {
        return damaged("a volume whose name, size or sum can't be one");
    }
    return out;
}

} // namespace

json to_json(const std::vector<manifest_volume> &volumes) {
    json list = json::array();
    for (const manifest_volume &v : volumes) {
        list.push_back({{"name", v.name}, {"size", v.size}, {"sha256", v.sha256}});
    }
    return list;
}

std::string to_text(const manifest &m) {
    json document{{"format", format_name}, {"version", manifest_version},
                  {"group", m.group},      {"point", m.point},
                  {"facts", m.facts},      {"volumes", to_json(m.volumes)}};
    document["sha256"] = sha256_of(as_bytes(control::to_line(document)));
    return control::to_line(document) + "\n";
}

result<manifest> parse_manifest(const std::string &text) {
    auto document = control::parse_json(text);
    if (!document || !document->is_object() || text_in(*document, "format") != format_name) {
        return damaged("it is none of `farshore export`, or it is damaged");
    }
    const auto version = document->find("version");
    if (version == document->end() || !version->is_number_integer()) {
        return damaged("it has no version");
    }
    if (*version != manifest_version) {
        return fail(errc::unsupported,
                    fmt::format("{} has version {}, this program reads {}; use the version that "
                                "made the stream",
                                manifest_name, version->get<std::int64_t>(), manifest_version));
    }
    const std::string sum = text_in(*document, "sha256");
    document->erase("sha256");
    if (sum.empty() || sum != sha256_of(as_bytes(control::to_line(*document)))) {
        return damaged("its own sum is wrong");
    }
    manifest m{text_in(*document, "group"), text_in(*document, "point"), nullptr, {}};
    if (const auto facts = document->find("facts"); facts != document->end()) {
        m.facts = *facts;
    }
    const auto volumes = document->find("volumes");
    if (volumes == document->end() || !volumes->is_array() || volumes->empty() ||
        volumes->size() > limits::volumes_per_group_max) {
        return damaged("it names no volumes");
    }
    for (const json &v : *volumes) {
        FS_TRY(volume, volume_in(v));
        m.volumes.push_back(std::move(volume));
    }
    return m;
}

result<> check_arrived(const manifest &m, const std::vector<manifest_volume> &arrived) {
    for (const manifest_volume &wanted : m.volumes) {
        const auto at = std::ranges::find(arrived, wanted.name, &manifest_volume::name);
        if (at == arrived.end()) {
            return damaged(fmt::format("volume {} is missing in the stream", wanted.name));
        }
        if (at->size != wanted.size) {
            return damaged(fmt::format("volume {} has {} bytes in the stream, it should have {}",
                                       wanted.name, at->size, wanted.size));
        }
        if (at->sha256 != wanted.sha256) {
            return damaged(fmt::format("the content of volume {} is damaged: its SHA-256 is {}, it "
                                       "should be {}",
                                       wanted.name, at->sha256, wanted.sha256));
        }
    }
    if (arrived.size() != m.volumes.size()) {
        return damaged(fmt::format("the stream has {} volumes, it should have {}", arrived.size(),
                                   m.volumes.size()));
    }
    return {};
}

std::string volume_of_entry(const std::string &entry) {
    if (!entry.ends_with(image_suffix)) {
        return "";
    }
    std::string name = entry.substr(0, entry.size() - image_suffix.size());
    return is_plain_name(name) ? name : "";
}

std::string entry_of_volume(const std::string &volume) {
    return volume + std::string(image_suffix);
}

} // namespace farshore::carry
