#pragma once
// [[group.test]] of receiver.toml: a rehearsal on a schedule.

#include "replicator/base/schedule.hpp"
#include "replicator/base/start_step.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct test_config {
    std::string name;
    schedule when;
    std::string point = "latest"; ///< as P of the CLI, or latest-app
    std::vector<std::string> run;
    duration timeout = std::chrono::minutes(30);
    bool isolate = false;
    bool mount = false;                            ///< volumes are mounted for the script
    std::optional<std::uint64_t> space_bytes = {}; ///< at most so much is written
    std::string user = {};                         ///< empty: the daemon's own
};

} // namespace farshore
