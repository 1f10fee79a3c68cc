#pragma once
// The receiver's engine as a daemon's service.

#include "replicator/engine/config.hpp"

namespace farshore::apps {

/// Runs farshore-receiver until a signal; returns the exit code.
int run_receiver(engine::receiver_config config);

} // namespace farshore::apps
