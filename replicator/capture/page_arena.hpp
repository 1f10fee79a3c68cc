#pragma once
// Memory for the blocks of an interval: 4 KiB pages out of chunks that are mapped for themselves,
// so that an interval that dies gives its memory back to the system and not to a heap that keeps
// it. A pool keeps a few chunks, since a fresh page costs a fault on the write path.
//
// Threads: page_pool is thread-safe (intervals die on other threads than they are filled on); a
// page_arena is used under its owner's lock, but pages it gave out may be filled outside of it.

#include "replicator/base/bytes.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace farshore {

class page_pool {
  public:
    static constexpr std::size_t chunk_bytes = 256 * 1024;
    static constexpr std::size_t kept_chunks_max = 128; ///< 32 MiB

    page_pool() = default;
    ~page_pool();
    page_pool(const page_pool &) = delete;
    page_pool &operator=(const page_pool &) = delete;

    std::byte *take(); ///< content unspecified; aborts when memory is out
    void give(std::byte *chunk);
    /// Gives back what was not needed since the last call.
    void trim();
    std::size_t kept_bytes() const;

  private:
    mutable std::mutex mutex_; // leaf lock: held for a vector operation only
    std::vector<std::byte *> kept_;
    std::size_t lowest_kept_ = 0; ///< fewest chunks in the pool since the last trim
};

/// Number of a page within its arena.
using page_number = std::uint32_t;

class page_arena {
  public:
    static constexpr std::uint32_t pages_per_chunk = page_pool::chunk_bytes / 4096;
    static constexpr std::uint32_t run_max = pages_per_chunk; ///< pages of one allocate()

    explicit page_arena(std::shared_ptr<page_pool> pool) : pool_(std::move(pool)) {}
    ~page_arena();
    page_arena(const page_arena &) = delete;
    page_arena &operator=(const page_arena &) = delete;

    /// First of `count` neighbouring pages, 1..run_max; content unspecified.
    page_number allocate(std::uint32_t count);
    void free(page_number first, std::uint32_t count);
    std::byte *at(page_number page) const {
        return chunks_[page / pages_per_chunk] + std::size_t{page % pages_per_chunk} * 4096;
    }
    /// So many pages come out of the chunks that it has, in any allocations of at most run_max.
    bool has_room(std::uint64_t pages) const { return pages <= pages_per_chunk - used_; }
    std::uint64_t memory_bytes() const { return chunks_.size() * page_pool::chunk_bytes; }

  private:
    std::shared_ptr<page_pool> pool_;
    std::vector<std::byte *> chunks_;
    std::uint32_t used_ = pages_per_chunk; ///< of the last chunk
    std::vector<page_number> free_;        ///< single pages to use again
};

} // namespace farshore
