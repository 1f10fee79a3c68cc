#pragma once
// In which interval a block was changed last, in little memory: a lossy table by hash. What it says
// is never too early, so "not changed since" can be relied on; sometimes it is too late.

#include "replicator/base/geometry.hpp"
#include "replicator/base/types.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace farshore {

class change_stamps {
  public:
    void changed(volume_index volume, index_range blocks, interval_id id) {
        if (blocks.count() > blocks_each_max) {
            all_ = std::max(all_, id);
            return;
        }
        if (stamps_.empty()) {
            stamps_.resize(slots);
        }
        for (std::uint64_t b = blocks.first; b < blocks.last; ++b) {
            // Low bits: a stream does not live for 2^32 intervals (136 years of one a second).
            stamps_[slot(volume, b)] = static_cast<std::uint32_t>(id.value);
        }
    }
    bool changed_since(volume_index volume, std::uint64_t block, interval_id id) const {
        const auto since = static_cast<std::uint32_t>(id.value);
        const std::uint32_t last = stamps_.empty() ? 0 : stamps_[slot(volume, block)];
        return all_ > id || static_cast<std::int32_t>(last - since) > 0;
    }

  private:
    static constexpr std::size_t slots = 1 << 16;
    static constexpr std::uint64_t blocks_each_max = 4096; ///< longer changes count for all blocks

    static std::size_t slot(volume_index volume, std::uint64_t block) {
        const std::uint64_t mixed =
            ((std::uint64_t{volume.value} << 40) + block) * 0x9E3779B97F4A7C15ULL;
        return mixed >> 48;
    }

    std::vector<std::uint32_t> stamps_; ///< made with the first change
    interval_id all_;
};

} // namespace farshore
