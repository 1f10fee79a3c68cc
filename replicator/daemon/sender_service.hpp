#pragma once
// The sender's engine as a daemon's service.

#include "replicator/session/config.hpp"

namespace farshore {

/// Runs farshore-sender until a signal; returns the exit code.
int run_sender(sender_config config);

} // namespace farshore
