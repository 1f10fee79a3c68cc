#pragma once
// What tells one file system from another on block devices and in raw files (libblkid), to find
// out whether the device below an application is a volume of the group. The volume is served under
// another name (an NBD device, a loop device, a disk of a guest), so only its content can tell.

#include "replicator/base/error.hpp"

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace farshore::hook {

struct block_identity {
    std::string type; ///< ext4, LVM2_member, ...
    std::string uuid; ///< without one nothing is known
    std::string part; ///< of several devices of one file system: this one's (UUID_SUB)
    std::string label;
    std::uint64_t sectors = 0;      ///< of 512 bytes
    bool journal_elsewhere = false; ///< ext: on a device of its own
    bool operator==(const block_identity &) const = default;
    /// Both are known, and one and the same.
    bool same_as(const block_identity &other) const;
};

/// Of a device or a file as a whole. An empty type: nothing known is on it.
result<block_identity> identify(const std::string &path);
/// Of a raw file or device: as a whole, and of each of its partitions.
result<std::vector<block_identity>> identify_parts(const std::string &path);

/// /dev/NAME of a block device's number. errc::not_found: there is no such device.
result<std::string> device_path(dev_t number);
/// The devices that a device-mapper or md device is made of; none for others.
std::vector<dev_t> devices_below(dev_t number);
/// All devices of a btrfs, by its UUID.
std::vector<dev_t> btrfs_devices(const std::string &uuid);

} // namespace farshore::hook
