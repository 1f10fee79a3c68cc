// Space of a group: what append may take, what retention keeps of the points, and the undo that
// goes with the others.

#include "replicator/base/log.hpp"
#include "replicator/base/rfc3339.hpp"
#include "replicator/replica/replica_impl.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace farshore {

namespace {
constexpr std::uint64_t room_share = 32;
} // namespace

std::uint64_t append_limit_of(std::uint64_t journal_bytes_max) {
    return journal_bytes_max - journal_bytes_max / 8;
}
std::uint64_t roomy_limit_of(std::uint64_t journal_bytes_max) {
    return append_limit_of(journal_bytes_max) - 2 * journal_bytes_max / room_share;
}

/// Deletes the undo that neither a point nor a roll-back needs.
result<> replica_group::impl::reclaim() {
    interval_id needed;
    interval_id rolled_back_to;
    std::uint64_t segment = 0;
    std::uint64_t rollback_segment = 0;
    {
        const std::scoped_lock lock(mutex);
        segment = older_segments.history;
        rollback_segment = older_segments.rollback;
        needed = known.points.empty() ? safe : std::min(safe, known.points.front().id);
        rolled_back_to = safe;
    }
    if (const auto held = core->oldest_held()) {
        needed = std::min(needed, *held);
    }
    FS_CHECK(drop_packed_before(needed)); // oldest first: what is behind it may lead further on
    FS_CHECK(core->history().drop_before(needed, segment));
    return core->rollback().drop_before(next(rolled_back_to), rollback_segment);
}

/// False when the oldest point must stay.
bool replica_group::impl::drop_oldest_point() {
    if (keep_all) {
        return false;
    }
    const auto in_use = core->held();
    const std::scoped_lock lock(mutex);
    return known.drop_oldest(in_use);
}

/// Why the oldest point stays, where an operator can do something about it.
std::string replica_group::impl::space_holder() const {
    if (keep_all) {
        return ", or let the time before the promotion go with `farshore commit`";
    }
    const std::scoped_lock lock(mutex);
    if (known.points.size() <= 1 || !known.points.front().pinned) {
        return "";
    }
    return fmt::format("; point {} of {} is pinned and holds all history since: `farshore unpin` "
                       "lets it go",
                       known.points.front().id.value, to_rfc3339(known.points.front().time));
}

result<> replica_group::impl::make_room(std::uint64_t bytes, std::uint64_t limit) {
    while (used_bytes() + bytes > limit) {
        if (!drop_oldest_point()) {
            return fail(
                errc::full,
                fmt::format("{}: journal and undo take {} of {} bytes and nothing more may be "
                            "dropped; raise `journal` of this group{}",
                            options.state_directory, used_bytes(), options.journal_bytes_max,
                            space_holder()));
        }
        FS_CHECK(reclaim());
    }
    return {};
}

std::vector<spacing_rule> rules_of(const std::vector<retention_rule> &retain) {
    std::vector<spacing_rule> rules;
    for (const retention_rule &rule : retain) {
        rules.push_back({rule.spacing, rule.age});
    }
    return rules;
}

result<> replica_group::retain(wall_time now) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    FS_CHECK(i.read_openings());
    const auto one =
        i.served ? std::unique_lock(i.served->order()) : std::unique_lock<std::mutex>();
    const auto rules = rules_of(i.options.retain);
    if (!i.keep_all) {
        const auto in_use = i.core->held();
        const std::scoped_lock lock(i.mutex);
        i.known.keep_only(points_to_keep(i.known.candidates(in_use, now), rules, now));
    }
    FS_CHECK(i.reclaim());
    const std::uint64_t limit = roomy_limit_of(i.options.journal_bytes_max);
    while (i.used_bytes() > limit && i.drop_oldest_point()) {
        FS_CHECK(i.reclaim());
    }
    i.note_points(i.committed.applied.interval); // nothing may be applied for long
    if (auto settled = i.settle_marks(); !settled) {
        log::warning("{}: {}", i.options.state_directory, settled.error().text());
    }
    return {};
}

retention_plan replica_group::plan(const retention_wish &wish, wall_time now) const {
    const impl &i = *impl_;
    const auto rules = rules_of(wish.retain.value_or(i.options.retain));
    const std::uint64_t journal = wish.journal_bytes_max.value_or(i.options.journal_bytes_max);
    const auto in_use = i.core->held();
    std::vector<kept_candidate> candidates;
    std::vector<replica_point> points;
    {
        const std::scoped_lock lock(i.mutex);
        candidates = i.known.candidates(in_use, now);
        for (const catalogued_point &p : i.known.points) {
            points.push_back(i.known.seen(p));
        }
    }
    std::vector<interval_id> ids;
    for (const replica_point &p : points) {
        ids.push_back(p.id);
    }
    const space_outcome kept =
        fit_into_space(candidates, i.history_bytes(ids), points_to_keep(candidates, rules, now),
                       {i.used_bytes(), roomy_limit_of(journal)});
    retention_plan p;
    for (std::size_t n = 0; n < points.size(); ++n) {
        if (kept.keep[n]) {
            p.oldest = p.points == 0 ? points[n] : p.oldest;
            ++p.points;
        }
    }
    p.used_bytes = kept.used_bytes;
    p.limit_bytes = journal;
    p.fits = kept.used_bytes <= append_limit_of(journal);
    return p;
}

bool replica_group::crowded() const {
    const impl &i = *impl_;
    return i.used_bytes() >
           append_limit_of(i.options.journal_bytes_max) - i.options.journal_bytes_max / room_share;
}

} // namespace farshore
