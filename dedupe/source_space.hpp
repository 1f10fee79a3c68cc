#pragma once
// What the blocks of the group hold at the receiver while one interval is encoded: at the previous
// barrier, and with what has been encoded of the interval so far. The bytes that a reference is
// compared with come from here and nowhere else.
//
// Blocks of the interval: `before` and `content` of their changes. All others: the source_reader,
// behind a small cache. Blocks of zero runs are never referred to.
//
// Single-threaded; views stay good until the next call of content().

#include "dedupe/codec.hpp"
#include "replicator/format/codec_program.hpp"

#include <array>
#include <optional>
#include <vector>

namespace farshore::dedupe {

class source_space {
  public:
    explicit source_space(std::vector<std::uint64_t> volume_blocks);

    /// Both must stay until the next begin().
    void begin(std::span<const block_change> changes, const source_reader &source);
    /// The change is encoded: its content counts as `now`.
    void emitted(const block_change &change);

    /// 4096 bytes, or nothing when the block can't be referred to at that moment.
    bytes_view content(volume_index volume, std::uint64_t block, bool now);
    /// Whether the interval changes the block and has been encoded so far.
    bool changed_now(volume_index volume, std::uint64_t block) const;

    /// How many bytes from `place` on equal those of `bytes`, at most all.
    std::size_t match_forward(codec_format::source_place place, bytes_view bytes);
    /// Reads at most a block's length of bytes; false when not all of them can be referred to.
    bool read(codec_format::source_place place, bytes_span out);
    /// How many bytes before `place` equal the last ones of `bytes`.
    std::size_t match_backward(codec_format::source_place place, bytes_view bytes);

    /// Volumes laid end to end, as the index counts; nullopt beyond what it can hold.
    std::optional<std::uint64_t> linear(volume_index volume, std::uint64_t address) const;
    std::optional<codec_format::source_place> place_of(std::uint64_t linear) const;

  private:
    static constexpr std::size_t cached_blocks = 256;
    struct slot {
        std::uint64_t key = 0; ///< 0: free
        std::uint32_t change = 0;
        bool emitted = false;
    };
    struct zero_run {
        std::uint64_t first = 0; ///< key of the first block
        std::uint64_t last = 0;
    };
    struct cached {
        std::uint64_t key = 0;
        bool known = false; ///< false: the reader refused
    };

    static std::uint64_t key_of(volume_index volume, std::uint64_t block) {
        return (std::uint64_t{volume.value} << 40 | block) + 1;
    }
    slot &slot_of(std::uint64_t key);
    const slot *find(std::uint64_t key) const;
    bool zeroed(std::uint64_t key) const;
    bytes_view read_block(volume_index volume, std::uint64_t block, std::uint64_t key);

    std::vector<std::uint64_t> volume_blocks_;
    std::vector<std::uint64_t> first_; ///< bytes before each volume; one more at the end
    std::span<const block_change> changes_;
    const source_reader *source_ = nullptr;
    std::vector<slot> slots_; ///< open addressing, a power of two
    std::vector<zero_run> zero_runs_;
    buffer pages_; ///< of the cache, made when first needed
    std::array<cached, cached_blocks> cache_{};
    // The same block is asked for again and again while a copy grows.
    std::uint64_t last_key_ = 0;
    bool last_now_ = false;
    bytes_view last_;
};

} // namespace farshore::dedupe
