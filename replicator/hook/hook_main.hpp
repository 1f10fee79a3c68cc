#pragma once
// The program farshore-hook: what a process must be before it may freeze anything.

namespace farshore::hook {

/// Exit codes: 0 released when asked, 1 nothing was frozen, 2 usage, 3 released without being
/// asked.
int hook_main(int argc, char **argv);

} // namespace farshore::hook
