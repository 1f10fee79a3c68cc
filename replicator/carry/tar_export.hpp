#pragma once
// All volumes of an opened point as one tar: VOLUME.img each, holes kept, and the manifest last.

#include "replicator/carry/opening.hpp"
#include "replicator/carry/volume_copy.hpp"

#include <string>

namespace farshore::carry {

struct tar_written {
    copied stream;         ///< length and SHA-256 of the tar itself
    control::json volumes; ///< as in the manifest
};

/// Writes it to `fd` in one go, forward only. `name` is for messages.
result<tar_written> write_tar(const opening &o, int fd, const std::string &name, const means &with);

} // namespace farshore::carry
