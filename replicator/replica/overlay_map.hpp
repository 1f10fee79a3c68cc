#pragma once
// Which blocks of a volume stand in its overlay, and which of these are zero without taking space.
// A page of the map is 32,768 blocks, 128 MiB of the volume, and is in memory only once one of them
// was written.
//
// A block never leaves the overlay, so a page that was written in part by a power cut still says
// nothing wrong.
//
// Threads: none; the owner locks.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace farshore {

class overlay_map {
  public:
    static constexpr std::uint64_t page_bytes = 4096; ///< in the file
    static constexpr std::uint64_t page_blocks = page_bytes * 8;
    static constexpr std::uint64_t page_memory_bytes = 2 * page_bytes;

    enum class state : std::uint8_t {
        below, ///< as the point has it
        data,  ///< in the overlay
        zero   ///< in the overlay, as a hole
    };
    struct run {
        state what = state::below;
        std::uint64_t count = 0;
    };
    /// Of `first`, and for how many blocks it is the same: 1 to `count`, which is not 0.
    run look(std::uint64_t first, std::uint64_t count) const;
    /// Of these blocks, how many are in that state.
    std::uint64_t count_of(state what, std::uint64_t first, std::uint64_t count) const;
    /// Pages that set() on these blocks would make.
    std::uint64_t missing_pages(std::uint64_t first, std::uint64_t count) const;

    /// They stand in the overlay from now on. `what`: data or zero.
    void set(std::uint64_t first, std::uint64_t count, state what);
    /// Those that are data are a hole of the overlay's file.
    void note_hole(std::uint64_t first, std::uint64_t count);

    struct page_image {
        std::uint64_t number = 0;
        std::array<std::byte, page_bytes> bytes{};
    };
    /// Pages with blocks that came since the last call, as the file is to have them.
    std::vector<page_image> take_fresh();
    /// take_fresh() gives the page again: it could not be written.
    void renew(std::uint64_t number) { pages_.at(number)->fresh = true; }
    /// Of the file, when the overlay is opened: all its blocks are data at first. Returns how many.
    /// errc::corrupt: blocks at or behind `blocks_end`.
    result<std::uint64_t> load(std::uint64_t number, bytes_view bytes, std::uint64_t blocks_end);
    std::uint64_t pages() const { return pages_.size(); }

  private:
    static constexpr std::size_t words = page_bytes / 8;
    struct page {
        std::array<std::uint64_t, words> in{};
        std::array<std::uint64_t, words> zero{}; ///< only where `in` is
        bool fresh = false;
    };
    const page *find(std::uint64_t block) const;
    state state_of(std::uint64_t block) const;

    std::map<std::uint64_t, std::unique_ptr<page>> pages_;
};

} // namespace farshore
