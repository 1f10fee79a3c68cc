#pragma once
// How two ends of a line know of each other that they live.

#include "replicator/base/clock.hpp"

namespace farshore {

constexpr duration heartbeat_interval = std::chrono::seconds(1);
constexpr duration peer_silence_max = std::chrono::seconds(10); ///< then the peer counts as dead
constexpr duration connect_timeout = std::chrono::seconds(5);

} // namespace farshore
