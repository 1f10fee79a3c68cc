#pragma once
// The writing half of farshore-load.

#include "replicator/base/error.hpp"
#include "tests/e2e/load_plan.hpp"

#include <atomic>
#include <string>
#include <vector>

namespace farshore::load {

struct write_options {
    std::vector<std::string> volumes; ///< NBD URIs, in the plan's order
    plan_options plan;                ///< volume_sectors is filled from the volumes
    double seconds = 0;               ///< 0: until stopped
    std::uint64_t writes_max = 0;     ///< of each chain; 0: no limit
    double writes_per_second = 0;     ///< of each chain; 0: as fast as answers come
    double retry_seconds = 0;         ///< how long to reconnect after a failure; 0: fail at once
    std::uint64_t flush_every = 64;   ///< writes between flushes of the volume; 0: never
    std::string progress;             ///< file: 8 bytes a chain, the newest write that was answered
    bool resume = false;              ///< go on after what the progress file says
};

/// Writes until the limits or `stop`. Prints one JSON document of counts and latencies.
result<> run_writes(write_options options, const std::atomic<bool> &stop);

/// Gives every sector its content before the first write (n = 0).
result<> fill(const std::string &where, const plan_options &plan, std::uint32_t volume_number);

/// What the progress file says, one number a chain.
result<std::vector<std::uint64_t>> read_progress(const std::string &path, std::uint32_t chains);

} // namespace farshore::load
