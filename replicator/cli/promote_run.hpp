#pragma once
// What `promote` does besides asking the daemon: the group's start steps, at this host.

#include "replicator/cli/cli_options.hpp"
#include "replicator/control/control.hpp"

namespace farshore {

/// Runs the steps that the daemon's answer names and puts into it what became of them: "started",
/// a list of names, "start_failed", null or {"name", "message"}, and "start_output", a file.
void start_promoted(control::json &answer, const terminal &term);

} // namespace farshore
