#include "replicator/carry/seed_files.hpp"

#include <fmt/format.h>

namespace farshore::carry {
namespace {

using control::json;

std::string text_in(const json &object, const char *key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

bool flag_in(const json &object, const char *key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_boolean() && at->get<bool>();
}

} // namespace

result<seed_place> seed_place_of(const json &told) {
    if (!told.is_object() || text_in(told, "group").empty()) {
        return fail(errc::corrupt, "the receiver's answer about the group can't be read; are CLI "
                                   "and daemon of one version?");
    }
    seed_place p{text_in(told, "group"),     text_in(told, "state"),     flag_in(told, "copy"),
                 flag_in(told, "connected"), text_in(told, "directory"), {}};
    if (const auto targets = told.find("targets"); targets != told.end() && targets->is_object()) {
        for (const auto &[volume, path] : targets->items()) {
            if (path.is_string()) {
                p.targets[volume] = path.get<std::string>();
            }
        }
    }
    return p;
}

result<> check_wanted(const seed_place &place) {
    if (place.copy) {
        return fail(errc::refused,
                    fmt::format("group \"{}\" has a copy already (it is {}): a seed is for a group "
                                "that has none. To begin anew, stop the receiver, move the group's "
                                "state and images away, and start it again",
                                place.group, place.state));
    }
    if (place.connected) {
        return fail(errc::refused,
                    fmt::format("group \"{}\" is being synchronised by its sender right now; pause "
                                "it there (`farshore pause {}`) until the import is done",
                                place.group, place.group));
    }
    return {};
}

result<std::string> image_path(const seed_place &place, const std::string &volume) {
    if (const auto at = place.targets.find(volume); at != place.targets.end()) {
        return at->second;
    }
    if (place.directory.empty()) {
        return fail(errc::not_found,
                    fmt::format("group \"{}\" has no place for volume \"{}\": its configuration "
                                "names neither a `replica` directory nor a target for it",
                                place.group, volume));
    }
    return place.directory + "/" + volume + ".img";
}

} // namespace farshore::carry
