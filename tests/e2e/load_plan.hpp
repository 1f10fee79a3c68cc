#pragma once
// The writes that farshore-load makes, as a pure function of a seed: write n of a chain can be
// recomputed at any time, so an image can be compared with "exactly the writes 1..k and no other".
//
// A chain is a sequence of dependent writes: n + 1 is issued only after n was answered, the volumes
// taking turns. Chains run at once and own disjoint areas of every volume, so each of them must be
// found as a prefix in any consistent copy.

#include "replicator/base/bytes.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace farshore::load {

constexpr std::uint64_t sector_bytes = 512;
constexpr std::uint64_t write_sectors_max = 64;

struct plan_options {
    std::uint64_t seed = 1;
    std::uint32_t chains = 1;
    std::vector<std::uint64_t> volume_sectors; ///< size of each volume
};

/// One write: data, or zeroes (NBD WRITE_ZEROES).
struct planned_write {
    std::uint32_t volume = 0;
    std::uint64_t sector = 0;
    std::uint64_t sectors = 0;
    bool zeroes = false;
};

/// Write `n` (from 1) of a chain. Half are whole 4 KiB blocks, half lie anywhere; half hit the
/// first sixteenth of the area, so that blocks are overwritten within and across intervals.
planned_write write_of(const plan_options &plan, std::uint32_t chain, std::uint64_t n);

/// First and one-past-last sector of a chain's area on a volume.
struct sector_range {
    std::uint64_t first = 0, last = 0;
};
sector_range area_of(const plan_options &plan, std::uint32_t chain, std::uint32_t volume);

/// Who wrote a sector. n = 0: the content before the first write, when the volume was filled.
struct sector_label {
    std::uint64_t seed = 0;
    std::uint32_t volume = 0;
    std::uint32_t chain = 0;
    std::uint64_t sector = 0;
    std::uint64_t n = 0;
    bool operator==(const sector_label &) const = default;
};

using sector = std::array<std::byte, sector_bytes>;

/// The 512 bytes: label, check sum, 232 random bytes, the rest compressible.
sector content_of(const sector_label &label);
/// The label of a sector whose check sum holds.
std::optional<sector_label> label_of(bytes_view bytes);

} // namespace farshore::load
