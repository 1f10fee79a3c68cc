// Which mounted instance of a file system an open file belongs to.
//
// The number of the file system's directory in sysfs, which the kernel makes at each mount of the
// device and doesn't give out again in a boot. The id of the mount, which suggests itself, is
// another one after each restart of a service that systemd puts into a mount namespace of its own
// (ProtectSystem=, PrivateTmp=), so it is only asked for file systems without such a directory, and
// only where it is never given out again (Linux 6.8).

#include "replicator/storage/posix_file.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <sys/stat.h>

namespace farshore {
namespace {

/// The kernel's name of a block device ("vda1", "dm-0"); empty: not known.
std::string device_name(unsigned major, unsigned minor) {
    const std::string link =
        "/sys/dev/block/" + std::to_string(major) + ":" + std::to_string(minor);
    const std::unique_ptr<char, void (*)(void *)> real(::realpath(link.c_str(), nullptr),
                                                       std::free);
    const char *slash = real ? std::strrchr(real.get(), '/') : nullptr;
    return slash != nullptr ? slash + 1 : "";
}

} // namespace

std::uint64_t mounted_instance(unsigned major, unsigned minor, std::uint64_t unique_mount_id) {
    const std::string name = device_name(major, minor);
    for (const char *kind : {"ext4", "xfs", "f2fs"}) {
        struct stat st{};
        if (!name.empty() &&
            ::stat((std::string("/sys/fs/") + kind + "/" + name).c_str(), &st) == 0) {
            return st.st_ino;
        }
    }
    return unique_mount_id;
}

} // namespace farshore
