#include "replicator/sender/group_settings.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace farshore {

using json = nlohmann::json;

std::string text_of(const group_settings &s) {
    json j = {{"paused", s.paused}, {"ever_consistent", s.ever_consistent}};
    put_throttle(j, s.throttle);
    return j.dump(2) + "\n";
}

result<group_settings> read_group_settings(file_system &files, const std::string &path,
                                           group_settings configured) {
    FS_TRY(present, files.exists(path));
    if (!present) {
        return configured;
    }
    FS_TRY(bytes, files.read_file(path));
    const json j = json::parse(as_text(bytes), nullptr, false);
    group_settings s = configured;
    try {
        s.paused = j.at("paused").get<bool>();
        s.ever_consistent = j.at("ever_consistent").get<bool>();
        take_throttle(j, s.throttle);
    } catch (const json::exception &) { // also when it is no object
        return fail(
            errc::corrupt,
            fmt::format(
                "{} can't be read; remove it to start with the configured throttle, not paused",
                path));
    }
    return s;
}

} // namespace farshore
