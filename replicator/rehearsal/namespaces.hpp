#pragma once
// What the first process of a process namespace does before it starts others.
//
// Thread: the only one.

#include "replicator/base/error.hpp"

#include <sys/types.h>
#include <vector>

namespace farshore::rehearsal {

struct workplace;

/// Mounts of its own, to which ours come and from which none goes back; /proc of its own processes;
/// the copy's socket and mounts in the workplace; isolated: a network with `lo` up.
result<> enter_namespaces(const workplace &place);

/// By /proc.
std::vector<pid_t> children_of_this_thread();

} // namespace farshore::rehearsal
