#pragma once
// Opening the file or device of a volume, with the words for everything that can be wrong with it:
// the same at a daemon's start and in `farshore config check`.

#include "replicator/capture/capture_group.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>
#include <string>

namespace farshore {

/// "volume data (/srv/data.img)".
std::string volume_text(const capture_volume &config);

/// The file, opened for writing and locked. Errors begin with volume_text(): missing, not to be
/// opened for writing, no file or device, in use (errc::busy), empty (errc::invalid), too large
/// (errc::limit). Nothing is changed.
result<std::unique_ptr<file>> open_volume_file(file_system &files, const capture_volume &config);

/// A read failed because of the place that was read (a bad sector, a wrong checksum), by its errno.
/// Not when the disk or its path is gone as a whole and says so.
bool is_bad_place(const error &e);

} // namespace farshore
