#pragma once
// What the operator set for a group at the primary, and what outlives its sessions:
// STATE/groups/NAME/group.json.

#include "replicator/base/error.hpp"
#include "replicator/sender/throttle.hpp"
#include "replicator/storage/file_system.hpp"

#include <string>

namespace farshore {

struct group_settings {
    bool paused = false;
    bool ever_consistent = false; ///< the DR site had a consistent point once
    throttle_setting throttle;    ///< of this group, besides the daemon's
};

std::string text_of(const group_settings &s);
/// As the file says; what is configured comes from `configured`, as does all when there is no file.
/// errc::corrupt, with what to do. Blocks.
result<group_settings> read_group_settings(file_system &files, const std::string &path,
                                           group_settings configured);

} // namespace farshore
