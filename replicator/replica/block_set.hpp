#pragma once
// A set of blocks of a group's volumes, within a limit of memory: the blocks whose old content
// stands in the history since the newest point. Who asks must be right with "no" for a block that
// was added, for what does not fit is left out.
//
// A bitmap of 4 KiB for each 128 MiB of a volume that has blocks in the set, none for those that
// have all: 32 MiB a TiB of scattered blocks.
//
// Threads: none; the owner locks.

#include "replicator/base/types.hpp"

#include <cstdint>
#include <map>
#include <vector>

namespace farshore {

class block_set {
  public:
    explicit block_set(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

    /// Adds blocks [block, block + count), as far as there is memory.
    void add(volume_index volume, std::uint64_t block, std::uint64_t count);

    struct run {
        bool in = false;
        std::uint64_t count = 0;
    };
    /// Whether `block` is in the set, and for how many blocks the answer is the same: 1 to `count`,
    /// which is not 0.
    run look(volume_index volume, std::uint64_t block, std::uint64_t count) const;

    bool empty() const { return chunks_.empty(); }
    void clear();
    /// Memory taken, about.
    std::uint64_t bytes() const { return bytes_; }

  private:
    struct chunk {
        std::vector<std::uint64_t> bits; ///< empty: all blocks are in the set
        std::uint64_t blocks = 0;        ///< in the set
    };
    void add_part(std::uint64_t key, std::uint64_t first, std::uint64_t count);

    std::uint64_t bytes_max_;
    std::uint64_t bytes_ = 0;
    std::map<std::uint64_t, chunk> chunks_; ///< by volume and place
};

} // namespace farshore
