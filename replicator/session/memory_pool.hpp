#pragma once
// The part of a daemon's `memory` that intervals live in, from the first write to the spool: one
// pool of which each group has a grant. A group's stages stay within fixed parts of its grant
// (session/group_memory.hpp), so the sum of what they hold can't pass the pool.
//
// A grant grows where it is needed, in the thread of a client that writes: at 500 MB/s a small
// grant is full before any other thread could have looked. It grows by leaps, ahead of need, and
// gets back to the floor on the home thread (sender/memory_tender.hpp), which also divides when
// several want more than there is.
//
// | grant            | grows from                                             |
// | ---------------- | ------------------------------------------------------ |
// | up to the floor  | always there                                           |
// | up to fair share | all that nobody has                                    |
// | beyond           | what nobody has, but for an eighth of the pool         |
//
// The eighth is for the first leaps of others. The fair share is of those who have more than the
// floor, and one more. A group that is alone has all of the pool from the start.
//
// Threads: any. A mutex, since clients' threads of all groups take from one sum; a leaf, held for
// arithmetic.

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace farshore {

class memory_pool {
  public:
    /// Below it a group can't even keep the order of single small writes, see open_bytes_of().
    static constexpr std::uint64_t floor_min = 768 * limits::KiB;
    static constexpr std::uint64_t floor_max = 4 * limits::MiB;
    static constexpr std::uint64_t leap = 4; ///< a grant grows to so many times itself

    memory_pool(std::uint64_t total, std::size_t groups)
        : total_(total), floor_(floor_of(total, groups)), grants_(groups, floor_),
          given_(floor_ * groups), asked_(groups, 0) {}

    /// What a group always has: a quarter of an equal share, within bounds.
    static constexpr std::uint64_t floor_of(std::uint64_t total, std::size_t groups) {
        if (groups <= 1) {
            return total;
        }
        return std::min(total / groups, std::clamp(total / 4 / groups, floor_min, floor_max));
    }

    /// Called when somebody could not get what it asked for, until asked() takes note of it. Must
    /// be quick and may only post. Set before use.
    void set_short(std::function<void()> f) { on_short_ = std::move(f); }

    std::size_t groups() const { return grants_.size(); }
    std::uint64_t total() const { return total_; }
    std::uint64_t floor() const { return floor_; }
    /// What may be given out beyond fair shares.
    std::uint64_t ample_total() const { return total_ - headroom(); }
    std::uint64_t grant(std::size_t group) const {
        const std::lock_guard lock(mutex_);
        return grants_[group];
    }
    std::uint64_t given() const {
        const std::lock_guard lock(mutex_);
        return given_;
    }

    /// A leap, at least to `least` if that is to be had. Returns the grant.
    std::uint64_t grow(std::size_t group, std::uint64_t least) {
        const std::lock_guard lock(mutex_);
        std::uint64_t &mine = grants_[group];
        asked_[group] = std::max(asked_[group], least);
        const std::uint64_t wanted = std::min(std::max(least, leap * mine), total_);
        const std::uint64_t free = total_ - given_;
        const std::uint64_t fair = fair_share(mine > floor_ ? 0 : 1);
        const std::uint64_t most =
            std::max(std::min(fair, mine + free), mine + free - std::min(free, headroom()));
        const std::uint64_t grown = std::max(mine, std::min(wanted, most));
        given_ += grown - mine;
        mine = grown;
        if (grown < wanted && grown < total_ && !std::exchange(short_said_, true) && on_short_) {
            on_short_();
        }
        return mine;
    }
    /// As much of `wanted` as there is, at least the floor; what it held beyond is given back. The
    /// caller knows that no more is in use. Returns the grant.
    std::uint64_t settle(std::size_t group, std::uint64_t wanted) {
        const std::lock_guard lock(mutex_);
        std::uint64_t &mine = grants_[group];
        const std::uint64_t most = mine + (total_ - given_);
        const std::uint64_t settled = std::clamp(wanted, floor_, most);
        given_ += settled;
        given_ -= mine;
        mine = settled;
        return mine;
    }
    /// The most that it asked for since the last call.
    std::uint64_t asked(std::size_t group) {
        const std::lock_guard lock(mutex_);
        short_said_ = false;
        return std::exchange(asked_[group], 0);
    }
    /// Somebody has more than the floor.
    bool above_floor() const {
        const std::lock_guard lock(mutex_);
        return given_ > floor_ * grants_.size();
    }

  private:
    std::uint64_t fair_share(std::size_t more) const {
        const auto above = std::ranges::count_if(grants_, [&](auto g) { return g > floor_; });
        const std::size_t sharing =
            std::max<std::size_t>(2, static_cast<std::size_t>(above) + more);
        return std::max(floor_,
                        (total_ - floor_ * (grants_.size() - std::min(sharing, grants_.size()))) /
                            sharing);
    }
    std::uint64_t headroom() const { return grants_.size() <= 1 ? 0 : total_ / 8; }

    const std::uint64_t total_;
    const std::uint64_t floor_;
    std::function<void()> on_short_;
    mutable std::mutex mutex_;
    std::vector<std::uint64_t> grants_;
    std::uint64_t given_; ///< the sum of grants_
    std::vector<std::uint64_t> asked_;
    bool short_said_ = false;
};

} // namespace farshore
