#pragma once
// What a group at the sender is told when its volumes are the images of a copy that was promoted.

#include "replicator/capture/capture_group.hpp"
#include "replicator/storage/file_system.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace farshore {

struct served_half {
    std::shared_ptr<file_system> files; ///< where its volumes are opened; null: they are its own
    std::string capture = "capture";    ///< directory of its maps, in the group's
    /// What may differ from the other site; asked at the start, on the disk pool: of new maps, and
    /// of all while `changed_at_each_start`. An error: everything may.
    std::function<result<std::vector<pending_range>>()> changed;
    bool changed_at_each_start = false;
    bool dials = true; ///< false: who follows comes to this site
};

} // namespace farshore
