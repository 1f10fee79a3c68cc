#pragma once
// The last entry of an exported group (manifest.json): what the stream before it must have been.
// A stream without it is not whole.
//
//   {"format": "farshore-group", "version": 1, "group": "shop", "point": "4711",
//    "facts": {what `points --json` says of the point and stays so: time, kind, ...},
//    "volumes": [{"name": "data", "size": 1048576, "sha256": "..."}],   the raw content's
//    "sha256": "..."}                                                   of this without this key
//
// `facts` is for people and later versions; nothing is decided by it. Unknown keys are left alone,
// another version is refused. Pure.

#include "replicator/base/error.hpp"
#include "replicator/control/control.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace farshore::carry {

constexpr int manifest_version = 1;
constexpr const char *manifest_name = "manifest.json";
constexpr std::size_t manifest_bytes_max = 1024 * 1024;

struct manifest_volume {
    std::string name;
    std::uint64_t size = 0;
    std::string sha256;
    bool operator==(const manifest_volume &) const = default;
};
struct manifest {
    std::string group;
    std::string point;
    control::json facts;
    std::vector<manifest_volume> volumes;
};

std::string to_text(const manifest &m);
/// errc::corrupt: not one of ours, or damaged; errc::unsupported: of another version.
result<manifest> parse_manifest(const std::string &text);

control::json to_json(const std::vector<manifest_volume> &volumes);

/// What arrived against what should have: errc::corrupt names the first difference.
result<> check_arrived(const manifest &m, const std::vector<manifest_volume> &arrived);

/// "data.img" as "data"; empty when it is no name of a volume's image.
std::string volume_of_entry(const std::string &entry);
std::string entry_of_volume(const std::string &volume);

} // namespace farshore::carry
