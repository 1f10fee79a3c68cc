#pragma once
// `farshore demo`: both daemons as real processes on loopback over real TLS, two volumes in one
// group, writes that depend on each other, and the faults that a WAN and a DR site know: the line
// is cut, a daemon is killed. At the end everything is compared by digest. Says what it saw,
// nothing more.

#include "replicator/cli/cli.hpp"

namespace farshore {

/// 0 only if every comparison came out equal. Ends all processes and mounts that it started, also
/// on Ctrl-C (130).
int run_demo(const demo_options &options, const terminal &term);

} // namespace farshore
