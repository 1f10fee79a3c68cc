#pragma once
// Hook type `filesystem`: FIFREEZE and FITHAW of a mount of this host.
//
// A frozen file system stops whoever writes to it, so it is refused when that could be who has to
// release it or to cut the barrier: a path of `never`, this program, a file of a volume lies on it,
// also below an overlay or a loop device. It is refused as well when its devices are not volumes
// of the group, and when somebody else has frozen it: that freeze is not ours to end.
//
// Proof: a write probe that began to wait when the file system was frozen still waits.

#include "replicator/base/unique_fd.hpp"
#include "replicator/hook/freezer.hpp"
#include "replicator/hook/mount_table.hpp"
#include "replicator/hook/write_probe.hpp"

namespace farshore::hook {

class filesystem_freezer final : public freezer {
  public:
    explicit filesystem_freezer(const request &asked) : asked_(asked) {}
    result<facts> freeze(tether &t) override;
    result<> prove(tether &t) override;
    result<facts> release(tether &t) override;
    result<> let_go(tether &t) override;
    result<> force_release(tether &t, const std::string &trace) override;

  private:
    result<mount_row> allowed() const;
    result<> flush(const tether &t) const;
    const request &asked_;
    unique_fd root_;
    bool frozen_ = false;
    write_probe probe_;
};

} // namespace farshore::hook
