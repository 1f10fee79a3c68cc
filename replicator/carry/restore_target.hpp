#pragma once
// The disk or file that a restore overwrites: whether it may be, and what it is like.
//
// A block device is claimed as a mount claims it (O_EXCL), so one that is mounted, swapped to, or
// part of md, LVM or another stack, itself or a partition of it, is refused by the kernel. Files
// are locked against QEMU, other daemons and loop devices (storage/posix_exclusion.cpp).

#include "replicator/base/error.hpp"
#include "replicator/carry/carry.hpp"
#include "replicator/carry/table_plan.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>
#include <string>

namespace farshore::carry {

class restore_target {
  public:
    /// errc::refused: --confirm names neither the path nor the device's serial number.
    static result<> check_confirmed(const restore_request &request);
    /// Claims it for this process. errc::busy when somebody uses it, naming who.
    static result<restore_target> open(const restore_request &request);

    file &disk() { return *disk_; }
    const disk_shape &shape() const { return shape_; }

  private:
    restore_target(std::unique_ptr<file> disk, disk_shape shape)
        : disk_(std::move(disk)), shape_(shape) {}

    std::unique_ptr<file> disk_;
    disk_shape shape_;
};

/// Of a block device, from sysfs; empty when it has none. A partition has its disk's.
std::string serial_of(const std::string &path);
/// Who is known to use a block device or a partition of it: "mounted at /srv, swap". Empty: nobody.
std::string users_of(const std::string &path);

} // namespace farshore::carry
