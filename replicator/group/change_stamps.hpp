#pragma once
// In which interval a block was changed last, in little memory: a lossy table by hash. What it says
// is never too early, so "not changed since" can be relied on; sometimes it is too late.

#include "replicator/base/geometry.hpp"
#include "replicator/base/types.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace farshore {

class change_stamps {
  public:
    void changed(volume_index volume, index_range blocks, interval_id id) {
        if (blocks.count() > blocks_each_max) {
            all_ = std::max(all_, id);
            return;
        }
        if (!stamps_) {
            stamps_.reset(static_cast<std::uint32_t *>(std::calloc(slots, sizeof(std::uint32_t))));
            if (!stamps_) {
                throw std::bad_alloc();
            }
        }
        for (std::uint64_t b = blocks.first; b < blocks.last; ++b) {
            // Low bits: a stream does not live for 2^32 intervals (136 years of one a second).
            stamps_[slot(volume, b)] = static_cast<std::uint32_t>(id.value);
        }
    }
    bool changed_since(volume_index volume, std::uint64_t block, interval_id id) const {
        const auto since = static_cast<std::uint32_t>(id.value);
        const std::uint32_t last = stamps_ ? stamps_[slot(volume, block)] : 0;
        return all_ > id || static_cast<std::int32_t>(last - since) > 0;
    }

  private:
    /// 4 MiB, touched as blocks change: with 16 intervals of 16 MiB on their way one block in 16 is
    /// wrongly called changed.
    static constexpr unsigned slot_bits = 20;
    static constexpr std::size_t slots = 1 << slot_bits;
    static constexpr std::uint64_t blocks_each_max = 4096; ///< longer changes count for all blocks

    static std::size_t slot(volume_index volume, std::uint64_t block) {
        const std::uint64_t mixed =
            ((std::uint64_t{volume.value} << 40) + block) * 0x9E3779B97F4A7C15ULL;
        return mixed >> (64 - slot_bits);
    }

    struct free_memory {
        void operator()(std::uint32_t *memory) const { std::free(memory); }
    };
    std::unique_ptr<std::uint32_t[], free_memory>
        stamps_; ///< zeroes without touching them; made with the first change
    interval_id all_;
};

} // namespace farshore
