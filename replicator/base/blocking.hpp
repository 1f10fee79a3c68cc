#pragma once
// Rule: the home thread never waits for a disk, whose every group's line it would cut. What can
// wait calls may_block() first; on a thread that a never_blocks stands on, that is a bug and ends
// the program.
//
// The daemons put one on home when FARSHORE_CHECK_HOME is in the environment, as all end-to-end
// tests have it: without it a forgotten call costs time, and not the operator's replication.

#include "replicator/base/assert.hpp"

namespace farshore {

/// While it lives, its thread must not wait for a disk. One at a time on a thread.
class never_blocks {
  public:
    never_blocks() { here() = true; }
    ~never_blocks() { here() = false; }
    never_blocks(const never_blocks &) = delete;
    never_blocks &operator=(const never_blocks &) = delete;

    static bool &here() {
        static thread_local bool stands = false;
        return stands;
    }
};

inline void may_block(std::source_location where = std::source_location::current()) {
    if (never_blocks::here()) [[unlikely]] {
        assertion_failed("this thread never waits for a disk", where);
    }
}

} // namespace farshore
