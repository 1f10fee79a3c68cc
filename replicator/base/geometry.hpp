#pragma once
// The three granularities and the only conversions between them and bytes.

#include "replicator/base/types.hpp"

#include <cstdint>

namespace farshore {

constexpr std::uint64_t block_bytes = 4096;             ///< unit of shipping
constexpr std::uint64_t region_bytes = 64 * 1024;       ///< unit of the dirty map
constexpr std::uint64_t extent_bytes = 4 * 1024 * 1024; ///< unit of the activity log
constexpr std::uint64_t blocks_per_region = region_bytes / block_bytes;
constexpr std::uint64_t regions_per_extent = extent_bytes / region_bytes;

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); }

/// First and one-past-last index of units of `unit` bytes that a range touches.
struct index_range {
    std::uint64_t first = 0;
    std::uint64_t last = 0; ///< one past
    constexpr std::uint64_t count() const { return last - first; }
};
constexpr index_range units_of(byte_range r, std::uint64_t unit) {
    return r.length == 0 ? index_range{r.offset / unit, r.offset / unit}
                         : index_range{r.offset / unit, ceil_div(r.end(), unit)};
}
constexpr index_range blocks_of(byte_range r) { return units_of(r, block_bytes); }
constexpr index_range regions_of(byte_range r) { return units_of(r, region_bytes); }
constexpr index_range extents_of(byte_range r) { return units_of(r, extent_bytes); }

constexpr std::uint64_t block_count(std::uint64_t volume_bytes) {
    return ceil_div(volume_bytes, block_bytes);
}
constexpr std::uint64_t region_count(std::uint64_t volume_bytes) {
    return ceil_div(volume_bytes, region_bytes);
}
constexpr std::uint64_t extent_count(std::uint64_t volume_bytes) {
    return ceil_div(volume_bytes, extent_bytes);
}

/// Bytes of the block that lie inside the volume: less than 4 KiB only for the last one.
constexpr std::uint64_t bytes_in_block(block_index b, std::uint64_t volume_bytes) {
    const std::uint64_t start = b.value * block_bytes;
    return start >= volume_bytes                ? 0
           : volume_bytes - start < block_bytes ? volume_bytes - start
                                                : block_bytes;
}
/// The bytes of a region that lie inside the volume.
constexpr byte_range range_of(region_index r, std::uint64_t volume_bytes) {
    const std::uint64_t start = r.value * region_bytes;
    const std::uint64_t end =
        start + region_bytes < volume_bytes ? start + region_bytes : volume_bytes;
    return {start, end > start ? end - start : 0};
}

} // namespace farshore
