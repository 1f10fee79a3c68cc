#pragma once
// Who has a POSIX lock on a byte of a file, as the kernel tells another process.

#include "replicator/base/error.hpp"

#include <string>
#include <sys/types.h>

namespace farshore::hook {

/// Asks in a process of its own: a process does not see its own locks, and would lose them when it
/// closed the file. 0: nobody has it.
result<pid_t> lock_holder(const std::string &path, off_t byte);

} // namespace farshore::hook
