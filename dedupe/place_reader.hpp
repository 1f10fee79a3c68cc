#pragma once
// Reads the places that a payload's programs refer to: at the previous barrier, or with what the
// interval has changed so far, this payload's own blocks first. A small cache, since neighbouring
// copies read the same blocks.
//
// Single-threaded; begin() for each payload.

#include "dedupe/codec.hpp"
#include "replicator/format/codec_program.hpp"

#include <array>
#include <vector>

namespace farshore::dedupe {

class place_reader {
  public:
    /// `done`: what has been decoded of the payload so far, growing, in order of place.
    void begin(const base_reader &base, const base_reader &now,
               const std::vector<block_change> &done);

    /// The block's own content at the previous barrier.
    result<> read_own(volume_index volume, block_index block, bytes_span page);
    /// Bytes of a place, at most a block's length of them.
    result<> read(codec_format::source_place place, bytes_span out);

  private:
    static constexpr std::size_t cached_blocks = 16;
    struct cached {
        bool used = false;
        bool now = false;
        volume_index volume;
        block_index block;
    };

    result<bytes_view> block_at(volume_index volume, block_index block, bool now);
    const block_change *done_here(volume_index volume, block_index block) const;

    const base_reader *base_ = nullptr;
    const base_reader *now_ = nullptr;
    const std::vector<block_change> *done_ = nullptr;
    std::array<cached, cached_blocks> cache_{};
    std::size_t next_ = 0; ///< place in the cache that is overwritten next
    buffer pages_;
};

} // namespace farshore::dedupe
