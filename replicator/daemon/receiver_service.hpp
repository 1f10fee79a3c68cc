#pragma once
// The receiver's engine as a daemon's service.

#include "replicator/session/config.hpp"

namespace farshore {

/// Runs farshore-receiver until a signal; returns the exit code.
int run_receiver(receiver_config config);

} // namespace farshore
