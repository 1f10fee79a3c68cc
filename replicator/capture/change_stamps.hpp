#pragma once
// In which interval a block was changed last, in little memory: a lossy table by hash. What it says
// is never too early, so "not changed since" can be relied on; it is too late only for blocks that
// were not among the last few hundred thousand to change.
//
// Layout: buckets of a cache line, with seven tagged stamps and the newest stamp that was pushed
// out of the bucket, which stands for every block that isn't in it. Tags, because a block must not
// count as changed when another one was: in a catch-up newer intervals always wait behind the one
// that is encoded. And a hash that mixes twice: with one multiplication whether two blocks meet
// depends on their distance alone, and all copies of a similar volume have the same.

#include "replicator/base/geometry.hpp"
#include "replicator/base/types.hpp"

#include <algorithm>
#include <array>
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
        if (!buckets_) {
            buckets_.reset(static_cast<bucket *>(std::calloc(bucket_count, sizeof(bucket))));
            if (!buckets_) {
                throw std::bad_alloc();
            }
        }
        for (std::uint64_t b = blocks.first; b < blocks.last; ++b) {
            put(place_of(volume, b), low(id));
        }
    }
    bool changed_since(volume_index volume, std::uint64_t block, interval_id id) const {
        return all_ > id || (buckets_ && newer(stamp_of(place_of(volume, block)), low(id)));
    }

  private:
    static constexpr unsigned bucket_bits = 16; ///< 4 MiB, touched as blocks change
    static constexpr std::size_t bucket_count = 1ULL << bucket_bits;
    static constexpr std::uint64_t blocks_each_max = 4096; ///< longer changes count for all blocks

    using stamp = std::uint32_t; ///< low bits: a stream does not live for 2^32 intervals (136 years
                                 ///< of one a second)
    struct entry {
        std::uint32_t tag; ///< 0: free. Blocks that share one share their newest stamp
        stamp last;
    };
    struct bucket {
        std::array<entry, 7> entries;
        stamp pushed_out; ///< the newest that was; 0: none
        std::uint32_t unused;
    };
    static_assert(sizeof(bucket) == 64);
    struct place {
        std::size_t bucket;
        std::uint32_t tag;
    };

    static stamp low(interval_id id) { return static_cast<stamp>(id.value); }
    static bool newer(stamp a, stamp b) { return static_cast<std::int32_t>(a - b) > 0; }

    static place place_of(volume_index volume, std::uint64_t block) {
        std::uint64_t mixed = ((std::uint64_t{volume.value} << 40) + block) * 0x9E3779B97F4A7C15ULL;
        mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93ULL;
        return {mixed >> (64 - bucket_bits), static_cast<std::uint32_t>(mixed >> 8) | 1};
    }

    void put(place at, stamp id) {
        bucket &b = buckets_[at.bucket];
        auto found = std::ranges::find(b.entries, at.tag, &entry::tag);
        if (found == b.entries.end()) {
            found = std::ranges::find(b.entries, std::uint32_t{0}, &entry::tag);
        }
        if (found == b.entries.end()) {
            found = std::ranges::min_element(
                b.entries, [](const entry &x, const entry &y) { return newer(y.last, x.last); });
            if (b.pushed_out == 0 || newer(found->last, b.pushed_out)) {
                b.pushed_out = found->last;
            }
        }
        *found = {at.tag, id};
    }

    stamp stamp_of(place at) const {
        const bucket &b = buckets_[at.bucket];
        const auto found = std::ranges::find(b.entries, at.tag, &entry::tag);
        return found == b.entries.end() ? b.pushed_out : found->last;
    }

    struct free_memory {
        void operator()(bucket *memory) const { std::free(memory); }
    };
    std::unique_ptr<bucket[], free_memory>
        buckets_; ///< zeroes without touching them; made with the first change
    interval_id all_;
};

} // namespace farshore
