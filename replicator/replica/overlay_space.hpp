#pragma once
// What the overlays of one opening may take together: blocks against the operator's limit, memory
// of their maps against a bound of ours, and the disk below, of which some is left for the journal:
// a guest that fills its overlay must not stop replication.
//
// Threads: any.

#include "replicator/base/error.hpp"
#include "replicator/storage/file_system.hpp"

#include <cstdint>
#include <mutex>
#include <string>

namespace farshore {

class overlay_space {
  public:
    /// `directory`: where the overlays are. `limit_bytes`: of their blocks. `name`: for the
    /// operator, such as "shop-3".
    overlay_space(file_system &files, std::string directory, std::uint64_t limit_bytes,
                  std::string name);

    /// Room for blocks that will have content, and for pages of the map. ENOSPC: there is none,
    /// logged once; nothing was taken then. May block.
    result<> take(std::uint64_t blocks, std::uint64_t map_pages);
    void give_back(std::uint64_t blocks, std::uint64_t map_pages);
    /// What is there already when an overlay is opened again counts, limit or not.
    void adopt(std::uint64_t blocks, std::uint64_t map_pages);

    std::uint64_t used_bytes() const;
    std::uint64_t limit_bytes() const { return limit_bytes_; }

  private:
    std::unexpected<error> refuse(const std::string &why);

    file_system &files_;
    const std::string directory_;
    const std::uint64_t limit_bytes_;
    const std::string name_;
    mutable std::mutex mutex_;
    std::uint64_t blocks_ = 0;
    std::uint64_t map_pages_ = 0;
    bool said_ = false; ///< that it is full
};

} // namespace farshore
