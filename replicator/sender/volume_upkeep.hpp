#pragma once
// What has to be looked at while a group's volumes are served: the dirty map is brought up to date,
// places that a disk could not read are read again, a volume that somebody else uses is noticed.
// Thread: home; what may wait runs on the disk pool.

#include "replicator/base/async.hpp"
#include "replicator/base/log_repeat.hpp"
#include "replicator/capture/capture_group.hpp"

#include <optional>
#include <string>

namespace farshore {

class volume_upkeep {
  public:
    volume_upkeep(std::string group, runtime run, capture_group &capture);

    /// To be called about once a second. `recording`: what can be read again may become part of a
    /// point.
    task<void> look(bool recording);
    /// A volume's file was replaced, or somebody else uses it. Stays for good, since what is
    /// compared once may be changed again.
    const std::optional<std::string> &disturbed() const { return disturbed_; }

  private:
    task<void> maintain();
    task<void> reread(bool recording);
    std::uint64_t unreadable_bytes() const;

    std::string group_;
    runtime run_;
    capture_group &capture_;
    time_point next_maintain_{};
    time_point next_reread_{};
    duration reread_after_{};
    log::repeats failures_;
    std::optional<std::string> disturbed_;
};

} // namespace farshore
