#pragma once
// The key `scrub` of receiver.toml: how often everything is read once.

#include "replicator/base/clock.hpp"
#include "replicator/config/config_reader.hpp"

#include <optional>

namespace farshore {

constexpr duration scrub_every_default = std::chrono::hours(24 * 7);
constexpr duration scrub_every_min = std::chrono::seconds(1);

/// Nothing: "never". `otherwise`: without the key, and after a problem was noted.
std::optional<duration> scrub_of(table_reader &r, std::optional<duration> otherwise);

} // namespace farshore
