#pragma once
// How many deltas and copies may lead, one after the other, to what a block holds now: a new one is
// made only while that is less than packed_depth_max, so that reading old content has an end.
//
// In memory only. What is not known counts as the most, and the block's next content is written in
// full; that is so of every block after a restart, and after the table was full and began anew.
//
// 8 bytes a block that was packed, twice that while it grows. Threads: one.

#include "replicator/format/packed_stretch.hpp"

#include <cstdint>
#include <vector>

namespace farshore {

class chain_depths {
  public:
    static constexpr std::size_t blocks_max = 1 << 22; ///< then it begins anew: 64 MiB

    /// `complete`: nothing was packed before, so what is not here is 0.
    explicit chain_depths(bool complete) : complete_(complete) {}

    std::uint8_t of(std::uint64_t key) const;
    void set(std::uint64_t key, std::uint8_t depth);
    std::size_t blocks() const { return used_; }

  private:
    std::size_t place_of(std::uint64_t key) const;
    void grow();

    bool complete_;
    std::size_t used_ = 0;
    std::vector<std::uint64_t> slots_; ///< 0: free; else (key << 3 | depth) + 1 by its key
};

} // namespace farshore
