#pragma once
// Where the images of a group's seed belong, and what stands in the way. Pure but for looking.

#include "replicator/base/error.hpp"
#include "replicator/control/control.hpp"

#include <map>
#include <string>

namespace farshore::carry {

/// What the receiver says of a group (command `seed_target`).
struct seed_place {
    std::string group;
    std::string state;
    bool copy = false;
    bool connected = false;
    std::string directory;
    std::map<std::string, std::string> targets; ///< volume, path
};

result<seed_place> seed_place_of(const control::json &told);
/// errc::refused when a seed would come too late, or in somebody's way.
result<> check_wanted(const seed_place &place);
/// errc::not_found when the group has no place for such a volume.
result<std::string> image_path(const seed_place &place, const std::string &volume);

} // namespace farshore::carry
