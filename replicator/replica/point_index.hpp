#pragma once
// Where the content of each block as of one point stands in the undo logs: for every block the
// oldest record after the point that has it. What is not in the index is as in the replica.
//
// Records are inserted oldest first; a block that is there already stays. 32 bytes a run of blocks
// that follow each other in volume and log; random 4 KiB changes: 8 MiB a GiB changed since the
// point. Two levels: a sorted array and a small tree for what came lately, merged when the tree
// grows.
//
// Threads: none; the owner locks.

#include "replicator/base/types.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

namespace farshore {

/// Blocks [block, block + count) of one volume.
struct indexed_run {
    volume_index volume;
    std::uint64_t block = 0;
    std::uint64_t count = 0;
    bool zero = false;          ///< all zero: no content anywhere
    bool rollback = false;      ///< in the rollback log, not in the history
    std::uint64_t segment = 0;  ///< of that log
    std::uint64_t entries = 0;  ///< offset of the first block's entry
    std::uint64_t contents = 0; ///< offset of the first block's content
    bool operator==(const indexed_run &) const = default;
};

class point_index {
  public:
    /// Adds what of the run is not there yet.
    void insert(const indexed_run &run);
    /// The parts of [block, block + count) that are in the index, in order, trimmed to it.
    std::vector<indexed_run> find(volume_index volume, std::uint64_t block,
                                  std::uint64_t count) const;
    /// None of [block, block + count) is in the index.
    bool none(volume_index volume, std::uint64_t block, std::uint64_t count) const;
    std::size_t runs() const { return old_.size() + late_.size(); }

  private:
    struct node {
        std::uint64_t key;
        std::uint64_t contents; ///< 0: zero
        std::uint64_t entries;
        std::uint32_t segment : 31;
        std::uint32_t rollback : 1;
        std::uint32_t count;
    };
    static_assert(sizeof(node) == 32);

    static std::uint64_t end_of(const node &n) { return n.key + n.count; }
    const node *next(std::uint64_t key) const;
    void add(const node &n);
    void merge();

    std::vector<node> old_; ///< sorted by key; nothing overlaps, here and across
    std::map<std::uint64_t, node> late_;
};

} // namespace farshore
