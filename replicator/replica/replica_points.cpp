// Points of a running group: listed, measured, opened.

#include "replicator/base/rfc3339.hpp"
#include "replicator/replica/replica_impl.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
std::vector<replica_point> replica_group::points() const {
    const impl &i = *impl_;
    std::vector<replica_point> all;
    const std::scoped_lock lock(i.mutex);
    all.reserve(i.known.points.size());
    for (const catalogued_point &p : i.known.points) {
        all.push_back(i.known.seen(p));
    }
    return all;
}

points_overview replica_group::overview() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->known.overview();
}

/// Of each of these, which are in order: the records after it, up to the next one and with it. Of
/// packed ones their share of the file.
std::vector<std::uint64_t>
replica_group::impl::history_bytes(const std::vector<interval_id> &ids) const {
    std::vector<std::uint64_t> bytes(ids.size());
    const auto newest_before = [&](interval_id id) { // or the oldest of all
        const auto after = std::ranges::lower_bound(ids, id);
        return static_cast<std::size_t>(after - ids.begin() - (after == ids.begin() ? 0 : 1));
    };
    for (const auto &s : *core->packed().list()) {
        if (ids.empty()) {
            break;
        }
        bytes[newest_before(s->foot().first_interval)] += s->foot().leading_bytes;
        for (const packed_point &p : s->points()) {
            bytes[newest_before(next(p.id))] += p.bytes;
        }
    }
    std::size_t at = 0; // the newest point before the record
    core->history().each([&](const undo_record &record) {
        const interval_id id = record.header.position.interval;
        while (at + 1 < ids.size() && ids[at + 1] < id) {
            ++at;
        }
        if (!ids.empty() && id > ids[at]) {
            bytes[at] += record.header.record_bytes();
        }
    });
    return bytes;
}

std::vector<point_keeping> replica_group::points_and_keepers(wall_time now) const {
    const impl &i = *impl_;
    const auto in_use = i.core->held();
    const auto rules = rules_of(i.options.retain);
    std::vector<point_keeping> all;
    std::vector<interval_id> ids;
    {
        const std::scoped_lock lock(i.mutex);
        const auto kept = rules_that_keep(i.known.candidates(in_use, now), rules, now);
        for (std::size_t n = 0; n < kept.size(); ++n) {
            const catalogued_point &p = i.known.points[n];
            point_keeping k;
            k.point = i.known.seen(p);
            k.rules = kept[n].rules;
            k.bookmark = kept[n].bookmark;
            k.open = i.known.open(p.id, in_use);
            k.newest = n + 1 == kept.size();
            k.rebuilt = !p.pinned && !k.open && !kept[n].any() && i.known.held(p, in_use, now);
            if (k.rebuilt) {
                k.until = i.known.rebuilt->at + known_points::rebuilt_points_stay;
            } else if (!p.pinned && !k.open && !k.newest && kept[n].any()) {
                k.until = kept[n].until;
            }
            all.push_back(std::move(k));
            ids.push_back(p.id);
        }
    }
    const auto bytes = i.history_bytes(ids);
    for (std::size_t n = 0; n < all.size(); ++n) {
        all[n].undo_bytes = bytes[n];
    }
    return all;
}

// The history has of each block its first change after each point that there was. So every block
// that was written after point P and up to point Q is in a record of an interval in (P, Q], and no
// other block is.
result<point_changes> replica_group::impl::changes_between(interval_id since, interval_id id) {
    if (since > id) {
        return fail(errc::invalid, fmt::format("point {} is newer than point {}; `--since` takes "
                                               "an older one",
                                               since.value, id.value));
    }
    {
        const std::scoped_lock lock(mutex);
        const auto at = known.place_of(since);
        if (!at) {
            return fail(errc::not_found, options.state_directory + ": " + at.error().context);
        }
        if (known.seen(known.points[*at]).suspect) {
            return fail(errc::refused,
                        fmt::format("point {} is suspect: the images were found changed by "
                                    "somebody else after it, so what changed since is not known; "
                                    "take a newer one, or a whole export",
                                    since.value));
        }
        core->hold(since);
    }
    auto blocks = std::make_shared<changed_blocks>();
    const auto read = core->each_change(
        since, id, [&](volume_index volume, std::uint64_t block, std::uint64_t count) {
            blocks->add(volume, block, count);
        });
    core->release(since);
    FS_CHECK(read);
    blocks->finish();
    return point_changes{since, std::move(blocks)};
}

result<open_replica_point> replica_group::open_point(interval_id id, bool suspect_too,
                                                     std::optional<interval_id> since) {
    impl &i = *impl_;
    open_replica_point opened;
    {
        const std::scoped_lock lock(i.mutex);
        const auto at = i.known.place_of(id);
        if (!at) {
            return fail(errc::not_found, i.options.state_directory + ": " + at.error().context);
        }
        if (i.known.forgetting == id) {
            return fail(errc::not_found, fmt::format("{}: point {} is being forgotten",
                                                     i.options.state_directory, id.value));
        }
        opened.point = i.known.seen(i.known.points[*at]);
        if (opened.point.suspect && !suspect_too) {
            return fail(
                errc::refused,
                fmt::format("point {} is suspect: at {} the images were found changed by somebody "
                            "else, so it may "
                            "show what the primary never had. `--suspect` opens it nevertheless",
                            id.value, to_rfc3339(i.known.suspect_time)));
        }
        if (opened.point.damaged && !suspect_too) {
            return fail(errc::refused,
                        fmt::format("point {} is damaged: a piece of the copy that it needs can't "
                                    "be read as it was written, so it may show what the primary "
                                    "never had. `farshore points` lists others; `--suspect` opens "
                                    "it nevertheless",
                                    id.value));
        }
        i.core->hold(id); // nothing it needs is dropped from here on
    }
    auto view = i.core->open_view(id, view_kind::point);
    i.core->release(id);
    FS_CHECK(view);
    point_changes changes;
    if (since) {
        FS_TRY(between, i.changes_between(*since, id));
        changes = std::move(between);
    }
    opened.devices = i.core->devices(*view, i.volumes.size(), changes);
    return opened;
}

} // namespace farshore
