#pragma once
// The process that holds the freeze. It does what the guard says and nothing else: freezes, waits,
// proves, releases. It releases by itself when the guard is gone, or silent beyond the time.

#include "replicator/hook/request.hpp"
#include "replicator/hook/tether.hpp"

namespace farshore::hook {

/// `end` is a little behind the guard's, so that it speaks first.
/// Runs to the end, in a process of its own; the exit code says nothing to anybody. Standard input
/// and output are closed first: what reads from the guard must see the guard's end.
int run_worker(const request &asked, int channel, tether::clock::time_point end);

} // namespace farshore::hook
