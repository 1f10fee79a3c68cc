#pragma once
// Block contents in memory that lie over the replica: what a batch of intervals has changed and the
// images do not show yet. Contents are views; the owner keeps the bytes.
//
// Threads: none.

#include "replicator/base/bytes.hpp"
#include "replicator/base/types.hpp"

#include <cstdint>
#include <map>
#include <vector>

namespace farshore {

/// Blocks [block, block + count) of one volume with one content; null: zero.
struct overlay_run {
    volume_index volume;
    std::uint64_t block = 0;
    std::uint64_t count = 0;
    const std::byte *content = nullptr;
};

class overlay {
  public:
    /// Later puts win. Null content: zero.
    void put(const overlay_run &run);
    /// All runs of `later`, over what is here.
    void put_all(const overlay &later);
    /// The parts of [block, block + count) that are here, in order, trimmed to it.
    std::vector<overlay_run> find(volume_index volume, std::uint64_t block,
                                  std::uint64_t count) const;
    /// Everything, in order of volume and block.
    std::vector<overlay_run> runs() const;
    bool empty() const { return nodes_.empty(); }
    void clear() { nodes_.clear(); }

  private:
    struct node {
        std::uint64_t count;
        const std::byte *content;
    };
    void carve(std::uint64_t from, std::uint64_t to);

    std::map<std::uint64_t, node> nodes_; ///< by volume and block; no overlaps
};

} // namespace farshore
