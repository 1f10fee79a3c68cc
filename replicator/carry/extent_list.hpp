#pragma once
// Where a volume has data: sorted ranges that neither touch nor overlap. Bounded: beyond
// extents_max the smallest gaps are taken for data, which costs time and no truth. Pure.

#include "replicator/base/types.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace farshore::carry {

constexpr std::size_t extents_max = 1 << 20; ///< of one volume

class extent_list {
  public:
    explicit extent_list(std::size_t max = extents_max) : max_(max) {}

    /// The next range, at or after the end of the one before. Empty ones are left out.
    void add(byte_range range);
    const std::vector<byte_range> &ranges() const { return ranges_; }
    std::uint64_t bytes() const;

  private:
    void coarsen();

    std::size_t max_;
    std::uint64_t gap_min_ = 1; ///< a smaller gap is data
    std::vector<byte_range> ranges_;
};

/// What is in both, and what is in `a` only. Of sorted ranges that do not overlap.
std::vector<byte_range> in_both(const std::vector<byte_range> &a, const std::vector<byte_range> &b);
std::vector<byte_range> in_first_only(const std::vector<byte_range> &a,
                                      const std::vector<byte_range> &b);

} // namespace farshore::carry
