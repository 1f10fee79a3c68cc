// Space of a group: what append may take, what retention keeps of the points, and the undo that
// goes with the others.

#include "replicator/replica/replica_impl.hpp"
#include "replicator/replica/retention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <vector>

namespace farshore {

/// The last eighth is for undo: a journal that took all space could not be applied any more.
std::uint64_t replica_group::impl::append_limit() const {
    return options.journal_bytes_max - options.journal_bytes_max / 8;
}

/// Deletes the undo that neither a point nor a roll-back needs.
result<> replica_group::impl::reclaim() {
    interval_id needed;
    interval_id rolled_back_to;
    std::uint64_t segment = 0;
    std::uint64_t rollback_segment = 0;
    {
        const std::scoped_lock lock(mutex);
        segment = older_undo_segment;
        rollback_segment = older_rollback_segment;
        needed = points.empty() ? safe : std::min(safe, points.front().id);
        rolled_back_to = safe;
    }
    if (const auto held = core->held(); !held.empty()) {
        needed = std::min(needed, *held.begin());
    }
    FS_CHECK(core->history().drop_before(needed, segment));
    return core->rollback().drop_before(next(rolled_back_to), rollback_segment);
}

/// False when the oldest point must stay.
bool replica_group::impl::drop_oldest_point() {
    const auto held = core->held();
    const std::scoped_lock lock(mutex);
    if (points.size() <= 1 || held.contains(points.front().id)) {
        return false;
    }
    points.pop_front();
    return true;
}

namespace {
/// Retention keeps one to two parts in so many free for append: removing segments waits for the
/// disk, and append is what acknowledgements wait for.
constexpr std::uint64_t room_share = 32;
} // namespace

result<> replica_group::impl::make_room(std::uint64_t bytes, std::uint64_t limit) {
    while (used_bytes() + bytes > limit) {
        if (!drop_oldest_point()) {
            return fail(
                errc::full,
                fmt::format("{}: journal and undo take {} of {} bytes and nothing more may be "
                            "dropped; raise `journal` of this group",
                            options.state_directory, used_bytes(), options.journal_bytes_max));
        }
        FS_CHECK(reclaim());
    }
    return {};
}

result<> replica_group::retain(wall_time now) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    std::vector<spacing_rule> rules;
    for (const retention_rule &rule : i.options.retain) {
        rules.push_back({rule.spacing, rule.age});
    }
    {
        const auto held = i.core->held();
        const std::scoped_lock lock(i.mutex);
        std::vector<kept_candidate> candidates;
        for (const impl::kept_point &p : i.points) {
            candidates.push_back({p.id, p.time, held.contains(p.id), p.arrival});
        }
        const auto keep = points_to_keep(candidates, rules, now);
        std::deque<impl::kept_point> kept;
        for (std::size_t n = 0; n < keep.size(); ++n) {
            if (keep[n]) {
                kept.push_back(i.points[n]);
            }
        }
        i.points = std::move(kept);
    }
    FS_CHECK(i.reclaim());
    const std::uint64_t limit = i.append_limit() - 2 * i.options.journal_bytes_max / room_share;
    while (i.used_bytes() > limit && i.drop_oldest_point()) {
        FS_CHECK(i.reclaim());
    }
    return {};
}

bool replica_group::crowded() const {
    const impl &i = *impl_;
    return i.used_bytes() > i.append_limit() - i.options.journal_bytes_max / room_share;
}

} // namespace farshore
