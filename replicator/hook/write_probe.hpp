#pragma once
// A process that tries to write to a file system and can't while it is frozen. It is let through
// by any thaw, also one that is followed by the next freeze at once: as long as it waits, the
// freeze has held since it began to wait.
//
// It removes an extended attribute that is not there from the root directory. The kernel takes the
// freeze protection first, as for every change, and then there is nothing to change: whenever the
// probe is let through or killed, nothing of it is on the file system.

#include "replicator/base/error.hpp"
#include "replicator/hook/tether.hpp"

#include <sys/types.h>

namespace farshore::hook {

class write_probe {
  public:
    write_probe() = default;
    ~write_probe();
    write_probe(const write_probe &) = delete;
    write_probe &operator=(const write_probe &) = delete;

    /// `directory`: open on the file system; stays the caller's.
    result<> start(int directory);
    /// Until it is seen to wait for the freeze (true) or was let through (false).
    result<bool> settle(const tether &t);
    /// It was let through.
    bool ended();

  private:
    bool waits_for_a_thaw() const;
    pid_t pid_ = -1;
    bool ended_ = false;
};

} // namespace farshore::hook
