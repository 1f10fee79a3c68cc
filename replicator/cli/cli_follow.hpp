#pragma once
// Commands that show how things go on: status --watch, and progress beside long commands.

#include "replicator/cli/cli_options.hpp"
#include "replicator/cli/cli_request.hpp"
#include "replicator/control/control.hpp"

namespace farshore {

/// Prints the status once a second until the daemon can't be asked any more; returns why.
control::failure watch_status(const invocation &inv, const terminal &term);
/// A call whose progress documents become a line on the terminal.
control::outcome call_with_progress(const invocation &inv, const control_request &request,
                                    const terminal &term);
/// A call that reports no progress of its own; meanwhile the group's status is asked and shown.
control::outcome call_beside_status(const invocation &inv, const control_request &request,
                                    const terminal &term);
/// Shows the progress of a synchronisation until it is complete. Ctrl-C leaves it running.
void follow_sync(const invocation &inv, const terminal &term);

} // namespace farshore
