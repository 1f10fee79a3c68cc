#pragma once
// [[group.hook]] and [[group.bookmark]] of sender.toml: applications that are still while a
// bookmark is cut, and bookmarks that are made by themselves.

#include "replicator/config/config_reader.hpp"
#include "replicator/session/config.hpp"

#include <vector>

namespace farshore {

/// What a [[group]] has of them, in order; what is wrong is noted.
std::vector<hook_config> hooks_of(table_reader &group, config_problems &problems);
std::vector<bookmark_config> bookmarks_of(table_reader &group, config_problems &problems);

} // namespace farshore
