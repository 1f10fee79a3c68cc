#pragma once
// From sampled content to places where it was seen: a hint. A lossy hash table of fixed size; new
// entries push out old ones of their bucket, anchors before whole blocks. What it says must be
// compared byte by byte.
//
// Layout: buckets of eight 8-byte entries (a cache line): 16 bits of the key, 48 bits of the place,
// a byte address in the group's volumes laid end to end; 0 = free. Beyond 256 TiB nothing is
// indexed. The newest entry of a bucket stands first.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace farshore::dedupe {

class reference_index {
  public:
    /// Takes the largest power of two of buckets that fits; its memory is touched only as it is
    /// used.
    explicit reference_index(std::size_t bytes);

    static constexpr std::uint64_t place_max = (1ULL << 48) - 2;
    static constexpr std::size_t found_max = 2;

    void put(std::uint64_t key, std::uint64_t place);
    /// Writes the newest places first; returns how many.
    std::size_t find(std::uint64_t key, std::span<std::uint64_t, found_max> places) const;
    void prefetch(std::uint64_t key) const;
    std::uint64_t entries() const { return (mask_ + 1) * ways; }

  private:
    static constexpr std::size_t ways = 8;
    struct alignas(64) bucket {
        std::array<std::uint64_t, ways> entries;
    };
    struct unmap {
        std::size_t bytes;
        void operator()(bucket *b) const;
    };
    bucket &of(std::uint64_t key) const { return buckets_.get()[key & mask_]; }

    std::unique_ptr<bucket, unmap> buckets_;
    std::uint64_t mask_ = 0;
};

} // namespace farshore::dedupe
