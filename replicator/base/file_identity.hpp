#pragma once
// What the system tells of a file, to know it again: which one it is, and when it was last changed.
// Evidence for "this is still the same": capture/dirty_map_cases.hpp says what it proves.

#include <cstdint>

namespace farshore {

struct file_identity {
    std::uint64_t device =
        0; ///< st_dev; of a block device its own number (st_rdev). May be another one after a boot
    std::uint64_t inode = 0; ///< of a block device that of its node
    /// Of the mounted file system: another one after each mount of it, the same in all mount
    /// namespaces where the kernel tells; else of the mount. As long as it is equal, what was in
    /// the page cache is there. 0: not told.
    std::uint64_t mount = 0;
    std::uint64_t instance =
        0; ///< block device: counts the disks of this boot (BLKGETDISKSEQ); 0: not told
    std::uint64_t size = 0;
    std::int64_t modified = 0; ///< ns since 1970, mtime; of a block device 0: it has no times
    std::int64_t changed = 0;  ///< likewise, ctime
    std::int64_t born = 0;     ///< likewise, when it was made; 0: not told
    bool operator==(const file_identity &) const = default;
};

} // namespace farshore
