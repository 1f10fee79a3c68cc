#pragma once
// The content of one volume on its way: read, digested, and handed on, with progress.

#include "replicator/carry/carry.hpp"
#include "replicator/carry/nbd_source.hpp"

#include <string>

namespace farshore::carry {

struct copied {
    std::uint64_t bytes = 0; ///< the whole content, holes included
    std::string sha256;      ///< of the same
};

/// Reads `data` of the volume, hands everything in order to `sink`. `what` is for the progress.
result<copied> copy_volume(nbd_source &source, const extent_list &data, const piece_sink &sink,
                           const std::string &what, const means &with);

/// To a file that reads as zeroes: holes are left out.
piece_sink sink_to_file(int fd, const std::string &name);
/// To a stream: holes are written as zeroes.
piece_sink sink_to_stream(int fd, const std::string &name, const means &with);

/// SHA-256 and length of a file's bytes.
result<copied> digest_file(const std::string &path, const std::string &what, const means &with);

} // namespace farshore::carry
