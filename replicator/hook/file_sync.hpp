#pragma once
// Files of an application made durable by us: fsync is about the file, not about who wrote it.

#include "replicator/base/error.hpp"

#include <string>

namespace farshore::hook {

/// A file or a directory.
result<> sync_path(const std::string &path);
/// Every file in a directory, and the directory. One that goes meanwhile is no error.
result<> sync_files_in(const std::string &directory);

} // namespace farshore::hook
