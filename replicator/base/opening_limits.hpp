#pragma once
// Bounds of points that are open; the others are in limits.hpp.

#include "replicator/base/limits.hpp"

namespace farshore::limits {

constexpr std::size_t openings_max = 64;                  ///< of one group
constexpr std::uint64_t overlay_space_default = 10 * GiB; ///< of one opening, without --space
constexpr std::uint64_t overlay_space_max = volume_bytes_max;
constexpr std::uint64_t overlay_map_bytes_max = 64 * MiB; ///< memory of the maps of one opening
constexpr std::uint64_t overlay_free_bytes_min =
    256 * MiB; ///< of the disk below, that overlays leave

} // namespace farshore::limits
