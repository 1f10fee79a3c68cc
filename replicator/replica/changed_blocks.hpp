#pragma once
// Which blocks of a group were written between two barriers: what backup programs read of a point
// to have the next one. Exact but for its bound: beyond changed_block_runs_max runs the smallest
// gaps count as changed, too. Pure.
//
// Filled by one thread; after finish() any thread reads.

#include "replicator/base/types.hpp"
#include "replicator/storage/block_device.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace farshore {

constexpr std::size_t changed_block_runs_max = 1 << 20; ///< of all volumes: 24 MiB

class changed_blocks {
  public:
    explicit changed_blocks(std::size_t runs_max = changed_block_runs_max) : max_(runs_max) {}

    /// In any order, also more than once.
    void add(volume_index volume, std::uint64_t block, std::uint64_t count);
    /// Nothing is added afterwards.
    void finish();

    /// States of `range` of a volume as BLOCK_STATUS tells them: flag 1 is changed. At least one
    /// and at most `max`, in order. `range` is not empty.
    std::vector<status_extent> status(volume_index volume, byte_range range, std::size_t max) const;
    std::size_t runs() const { return runs_.size(); }

  private:
    struct run {
        volume_index volume;
        std::uint64_t first = 0;
        std::uint64_t count = 0;
    };
    void merge(std::uint64_t gap);

    std::size_t max_;
    std::uint64_t gap_ = 0; ///< so many unchanged blocks in between count as changed
    std::vector<run> runs_;
};

} // namespace farshore
