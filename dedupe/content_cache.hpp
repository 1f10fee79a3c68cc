#pragma once
// Contents of blocks as the receiver has them at the previous barrier: what the interval before
// wrote, and what the source was asked for. Most places that the index proposes are among the last
// ones; asking the volume again costs a system call each.
//
// An entry stays true as long as every later change of the block is told by put() or drop(), so the
// cache is one stream's: clear() when another begins. Two ways a set, the older one goes.
//
// Single-threaded. Memory is touched only as it is used.

#include "dedupe/lazy_memory.hpp"
#include "replicator/base/bytes.hpp"
#include "replicator/base/geometry.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace farshore::dedupe {

class content_cache {
  public:
    /// The largest power of two of sets that fits; less than a set: it holds nothing.
    explicit content_cache(std::size_t bytes);

    /// Copies the block's 4096 bytes; false when it is not held.
    bool find(volume_index volume, block_index block, bytes_span out);
    void put(volume_index volume, block_index block, bytes_view content);
    void drop(volume_index volume, block_index first, std::uint64_t count);
    void clear();

  private:
    static constexpr std::size_t ways = 2;
    struct set {
        std::array<std::uint64_t, ways> keys{}; ///< 0: free
        std::size_t newest = 0;
    };
    struct page {
        std::array<std::byte, block_bytes> bytes;
    };

    set &set_of(std::uint64_t key);
    /// `ways` when the set doesn't have it.
    static std::size_t way_of(const set &s, std::uint64_t key);
    page &page_of(const set &s, std::size_t way);

    std::vector<set> sets_;
    lazy_memory<page> pages_;
};

} // namespace farshore::dedupe
