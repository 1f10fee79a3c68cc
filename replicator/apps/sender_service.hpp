#pragma once
// The sender's engine as a daemon's service.

#include "replicator/engine/config.hpp"

namespace farshore::apps {

/// Runs farshore-sender until a signal; returns the exit code.
int run_sender(engine::sender_config config);

} // namespace farshore::apps
