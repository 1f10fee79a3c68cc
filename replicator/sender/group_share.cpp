#include "replicator/sender/group_share.hpp"

#include <algorithm>

namespace farshore {
namespace {

/// Room above what was needed lately: the next interval may be twice as large.
constexpr std::uint64_t room_above = 2;
/// What was needed counts a quarter less after each: several intervals of the usual second.
constexpr duration forgets_every = std::chrono::seconds(1);

} // namespace

open_memory group_share::more(std::uint64_t open_bytes) {
    const stage_memory now = stages();
    const bool ample =
        now.interval_bytes == interval_bytes_max && open_bytes <= now.open_bytes_max / 2;
    const bool little = open_bytes <= open_bytes_little && open_bytes <= now.open_bytes_max;
    return ample || little
               ? open_of(now)
               : open_of(stage_memory_of(pool_->grow(group_, grant_for_open(open_bytes))));
}

void group_share::note_closed(std::uint64_t bytes) {
    recent_ = std::max(recent_, grant_for_use(0, bytes, 0));
}

memory_claim group_share::claim(time_point now, const capture_group &capture,
                                std::uint64_t closed_bytes, const spool &held) {
    const std::uint64_t use =
        grant_for_use(capture.counts().open_bytes, closed_bytes, held.use().memory_bytes);
    if (now - forgot_ >= forgets_every) {
        forgot_ = now;
        recent_ -= recent_ / 4;
    }
    recent_ = std::max({use, recent_, pool_->asked(group_)});
    return {std::min(use, pool_->grant(group_)), recent_ * room_above};
}

void group_share::settle(std::uint64_t grant, capture_group &capture, spool &held) {
    capture.change_memory([&](std::uint64_t open_bytes) {
        // A client may have written since the claim.
        const std::uint64_t open = std::min(grant_for_open(open_bytes), pool_->grant(group_));
        return open_of(stage_memory_of(pool_->settle(group_, std::max(grant, open))));
    });
    held.set_memory_max(stages().spool_bytes_max);
}

} // namespace farshore
