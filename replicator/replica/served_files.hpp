#pragma once
// The images of a served copy as files for a capture group: what it writes into one goes through
// replica_group::keep_before() first. All other files are those of the file system below.
//
// The copy has the images open and locked for its own life, so lock() here does nothing. Neither
// truncate() nor allocate() nor map() is for an image: errc::refused.
//
// Threads: as file_system. Outlives the files that it opened.

#include "replicator/replica/replica_group.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>

namespace farshore {

/// `below` outlives it; `copy` is served.
std::unique_ptr<file_system> make_served_files(file_system &below,
                                               std::shared_ptr<replica_group> copy);

} // namespace farshore
