#pragma once
// Ctrl-C in the CLI: exit code 130, with the failure document when --json is on.

#include "replicator/cli/terminal.hpp"

namespace farshore {

/// From now on SIGINT and SIGTERM end the process with exit code 130.
void exit_on_interrupt(bool as_json, const terminal &term);

} // namespace farshore
