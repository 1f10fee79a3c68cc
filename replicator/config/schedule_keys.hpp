#pragma once
// The keys `every` and `at` of what is done again and again, and `run` and `timeout` of what is
// run: the same wherever they stand.

#include "replicator/base/schedule.hpp"
#include "replicator/config/config_reader.hpp"

#include <optional>
#include <string>
#include <vector>

namespace farshore {

/// Exactly one of both keys, `every` at least `every_min`. Nothing: a problem was noted.
std::optional<schedule> schedule_of(table_reader &r, duration every_min);
/// A program by its absolute path, and its arguments. Empty: a problem was noted, or there is no
/// such key and it is not required.
std::vector<std::string> program_of(table_reader &r, const char *key, bool required,
                                    config_problems &problems);
/// From a second to limits::script_time_max.
duration time_limit_of(table_reader &r, duration otherwise);

} // namespace farshore
