#pragma once
// [[group.test]] and [[group.start]] of receiver.toml.

#include "replicator/config/config_reader.hpp"
#include "replicator/session/rehearsal_config.hpp"

#include <vector>

namespace farshore {

/// A rehearsal reads and writes for minutes; more often is for tests of this software.
constexpr duration test_every_min = std::chrono::seconds(1);

/// `r`: of [[group]]. Names are unique within the group.
std::vector<test_config> tests_of(table_reader &r, config_problems &problems);
std::vector<start_step> start_steps_of(table_reader &r, config_problems &problems);

} // namespace farshore
