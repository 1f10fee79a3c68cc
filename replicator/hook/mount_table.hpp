#pragma once
// The mounts that this process sees (libmount), and which of them a path lies on. A file system is
// known by the device number of its mount table entry: equal for all of its mounts and subvolumes.

#include "replicator/base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace farshore::hook {

struct mount_row {
    std::uint64_t id = 0;
    dev_t file_system = 0; ///< device number; of some types (btrfs) of no device at all
    std::string target;
    std::string type;
    std::string source;
    std::string options; ///< of the file system, not of this mount
};

result<std::vector<mount_row>> read_mounts();

/// The value of `key` in "a,b=c"; empty text for a key without one.
std::optional<std::string> mount_option(const std::string &options, const std::string &key);

struct place {
    mount_row mount;
    bool is_root = false; ///< the path is the mount point itself
};
/// Where `path` lies; with `may_miss` where its nearest directory that exists lies.
result<place> place_of(const std::vector<mount_row> &mounts, const std::string &path,
                       bool may_miss = false);

/// Device numbers of all file systems that a write to `path` may have to write to: its own, below
/// an overlay the one of its upper directory, below a loop device the one of its file.
result<std::vector<dev_t>> file_systems_below(const std::vector<mount_row> &mounts,
                                              const std::string &path);

} // namespace farshore::hook
