#pragma once
// The overlays of one opening: a directory with two files a volume, VOLUME.data and VOLUME.map
// (point_overlay.hpp).
//
// Threads: any, one at a time for a directory. Every call may block.

#include "replicator/replica/point_overlay.hpp"

#include <memory>
#include <string>
#include <vector>

namespace farshore {

struct overlay_volume {
    std::string name;
    std::uint64_t size = 0;
};

/// Makes directory and files, durably. Errors: the disk's; then what was made is removed again.
result<> create_overlays(file_system &files, const std::string &directory, interval_id point,
                         const std::vector<overlay_volume> &volumes);
/// Devices over `below`, one a volume. Errors as point_overlay::open().
result<std::vector<std::shared_ptr<block_device>>>
open_overlays(file_system &files, const std::string &directory, interval_id point,
              const std::vector<overlay_volume> &volumes,
              const std::vector<std::shared_ptr<block_device>> &below,
              const std::shared_ptr<overlay_space> &space);
/// Durable; ok when it is not there. No device of it may be in use.
result<> remove_overlays(file_system &files, const std::string &directory);

} // namespace farshore
