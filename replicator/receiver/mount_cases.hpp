#pragma once
// What mounting an opened point decides, apart from doing it (point_mount.hpp): options by file
// system, and what is left of an earlier life in the kernel's table of mounts. Pure.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace farshore {

/// What `blkid -p -o export` says of a device.
struct disk_content {
    std::string type;      ///< "ext4", "LVM2_member"; empty: nothing known
    std::string usage;     ///< "filesystem", "raid", "crypto", "other"
    std::string partition; ///< type of a partition table
    bool file_system() const { return usage == "filesystem" && !type.empty(); }
    /// In words, when it is no file system.
    std::string what() const;
};
disk_content parse_blkid(std::string_view text);

/// Options to try, best first. A read-only mount must not replay a journal, for a point can't be
/// written; and a copy has the identity of its original, which XFS refuses unless told.
std::vector<std::string> mount_options(const std::string &type, bool writable);

struct mounted {
    std::string source; ///< device, or what the file system says
    std::string target;
    std::string type;
};
/// Of /proc/self/mountinfo, in order: later ones may lie on earlier ones.
std::vector<mounted> parse_mountinfo(std::string_view text);

struct loop_device {
    std::string device; ///< /dev/loopN
    std::string backing_file;
};
/// What of these is below `directory`, in the order in which it is taken down: file systems on
/// loop devices whose file is there, the loop devices, and what is mounted there.
struct leftovers {
    std::vector<std::string> file_systems;
    std::vector<std::string> loops;
    std::vector<std::string> fuses;
    bool empty() const { return file_systems.empty() && loops.empty() && fuses.empty(); }
};
leftovers leftovers_of(const std::string &directory, const std::vector<mounted> &mounts,
                       const std::vector<loop_device> &loops);

} // namespace farshore
