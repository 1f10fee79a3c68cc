#pragma once
// What a configuration file names, looked at: volumes that are missing, not to be written or in
// use, one file under two names, directories that are not there and can't be made. The words about
// volumes are those of the daemon's start (capture/volume_file.hpp). Nothing is made or changed;
// locks are taken for a moment and given back.
//
// A daemon that runs with this file holds its own locks: what is in use then is not a problem.

#include "replicator/config/config_file.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace farshore {
class file_system;
}

namespace farshore {

enum class named_kind : unsigned char {
    state_directory, ///< made when it is missing
    volume,          ///< exists, is written to
    image,           ///< of the DR site: made when it is missing, written to
    image_directory, ///< made when it is missing
    socket,          ///< made by the daemon; only the control socket's directory is made as well
    control_socket,
    readable_file, ///< certificates and keys
};

/// A path in a configuration file, with its place and whose it is ("group shop, volume data").
struct named_path {
    named_kind kind = named_kind::volume;
    std::string path;
    std::string name;
    std::string owner;
    std::size_t line = 1;
    std::size_t column = 1;
};

/// All paths of a file that config_file.hpp took; of another one, what there is.
std::vector<named_path> named_paths_of(std::string_view text);

struct probe_outcome {
    config_problems problems;
    bool daemon_runs = false; ///< with this file's state directory
};
probe_outcome probe_paths(file_system &files, const std::vector<named_path> &paths);

} // namespace farshore
