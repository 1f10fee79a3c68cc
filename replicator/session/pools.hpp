#pragma once
// Threads that may hang on a disk, by tenant.
//
// Rule: a group's engine work has its own pools and each volume's clients have theirs, so that a
// disk that hangs stops its own volumes and nothing else. A task on a pool waits for a disk, and
// not for a condition that only another task of the same pool would bring about.

#include "replicator/base/async.hpp"

#include <functional>

namespace farshore {

/// More threads for one tenant, until the process ends. Called on home. Empty in a simulation: all
/// run on one executor.
using pool_maker = std::function<executor(std::size_t threads, int niceness)>;

/// Clients' requests come first: encoding and applying give way to the NBD loops and to other
/// programs of the host when cores are short, and fall behind then; what must not runs on
/// cpu_urgent (level_policy.hpp).
constexpr int cpu_niceness = 10;

/// Threads for each of so many tenants, so that the sum stays bounded.
constexpr std::size_t threads_of_each(std::size_t tenants) {
    return tenants <= 8 ? 8 : tenants <= 32 ? 4 : tenants <= 128 ? 2 : 1;
}

inline executor pool_for(const runtime &run, const pool_maker &make, std::size_t tenants) {
    return make ? make(threads_of_each(tenants), 0) : run.disk;
}

/// The runtime of one group among several. Encoding and applying are one task at a time in a group.
inline runtime runtime_for_group(runtime run, const pool_maker &make, std::size_t groups) {
    if (make) {
        run.disk = make(threads_of_each(groups), 0);
        run.cpu = make(1, cpu_niceness);
        run.cpu_urgent = make(1, 0);
    }
    return run;
}

} // namespace farshore
