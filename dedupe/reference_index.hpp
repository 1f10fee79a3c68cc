#pragma once
// From sampled content to places where it was seen: a hint. A lossy hash table of fixed size; new
// entries push out old ones of their bucket, anchors before whole blocks. What it says must be
// compared byte by byte.
//
// Layout: buckets of eight 8-byte entries (a cache line): 16 bits of the key, 48 bits of the place,
// a byte address in the group's volumes laid end to end; 0 = free. Beyond 256 TiB nothing is
// indexed. The newest entry of a bucket stands first.

#include "dedupe/lazy_memory.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace farshore::dedupe {

class reference_index {
  public:
    /// Takes the largest power of two of buckets that fits; its memory is touched only as it is
    /// used.
    explicit reference_index(std::size_t bytes);

    static constexpr std::uint64_t place_max = (1ULL << 48) - 2;

    void put(std::uint64_t key, std::uint64_t place);
    /// Writes as many as there is room for, the newest places first; returns how many.
    std::size_t find(std::uint64_t key, std::span<std::uint64_t> places) const;
    void prefetch(std::uint64_t key) const;
    std::uint64_t entries() const { return (mask_ + 1) * ways; }

  private:
    static constexpr std::size_t ways = 8;
    struct alignas(64) bucket {
        std::array<std::uint64_t, ways> entries;
    };
    static std::size_t buckets_in(std::size_t bytes);
    bucket &of(std::uint64_t key) const { return buckets_.data()[key & mask_]; }

    std::uint64_t mask_;
    lazy_memory<bucket> buckets_;
};

} // namespace farshore::dedupe
