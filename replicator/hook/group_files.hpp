#pragma once
// Whether files of an application lie on the group's volumes. What lies elsewhere is not in the
// point, so a point that needs it must not be called the application's.
//
// A path leads to its mount, the mount to its devices, and each of them must be, by what
// identifies it (block_identity.hpp), a volume or a partition of one; or be made of such (LVM).

#include "replicator/base/error.hpp"
#include "replicator/hook/block_identity.hpp"
#include "replicator/hook/mount_table.hpp"
#include "replicator/hook/request.hpp"

#include <optional>
#include <string>
#include <vector>

namespace farshore::hook {

class group_files {
  public:
    /// Reads mounts and volumes now. Errors: a volume that can't be read, by its name.
    static result<group_files> look(const request &asked);

    /// errc::refused: the path is not on a volume of the group; the text says what it is on.
    result<> check(const std::string &what, const std::string &path) const;
    result<> check_mount(const std::string &what, const mount_row &mount) const;

    const std::vector<mount_row> &mounts() const { return mounts_; }

  private:
    bool on_volumes(dev_t device, int layers) const;
    std::vector<mount_row> mounts_;
    std::vector<block_identity> parts_; ///< of all volumes
};

/// Mount options that say that a part of the file system is on a device of its own: its name.
std::optional<std::string> device_apart(const mount_row &mount);

} // namespace farshore::hook
