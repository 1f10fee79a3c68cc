#pragma once
// An incremental export: what a point changed since an older one, as a qcow2 image over the earlier
// export. Only changed blocks are read.

#include "replicator/carry/carry.hpp"
#include "replicator/carry/nbd_source.hpp"
#include "replicator/carry/new_file.hpp"
#include "replicator/carry/overlay.hpp"

#include <cstdint>
#include <string>

namespace farshore::carry {

struct since_written {
    std::uint64_t changed_bytes = 0; ///< of the volume, those that are zero now included
    backing_image backing;
};

/// Writes the partial file of `file`, whole but not synced.
result<since_written> write_since(nbd_source &source, const export_request &request,
                                  const new_file &file, const std::string &what, const means &with);

} // namespace farshore::carry
