// What a scrub reads of a running group, and what becomes of what it finds: points that take a
// damaged piece are marked, durably, and are no good ones from then on.

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/history/packed_store.hpp"
#include "replicator/replica/replica_impl.hpp"
#include "replicator/replica/scrub_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

namespace farshore {
namespace {

/// A damaged place of the history, or behind all of it.
struct reach_from {
    segment_place place;
    interval_id newest; ///< records above it are not older
    damage_reach reach;
};

/// Feeds the records older than each place, newest first. A table that can't be read says nothing:
/// what it would have met reaches further back then, so no point that takes a damaged block is
/// missed.
result<> walk_back(const undo_log &history, std::vector<reach_from> &all) {
    std::vector<undo_record> records;
    history.each([&](const undo_record &r) { records.push_back(r); });
    for (auto r = records.rbegin(); r != records.rend(); ++r) {
        if (std::ranges::all_of(all, [](const reach_from &f) { return f.reach.settled(); })) {
            break;
        }
        const interval_id id = r->header.position.interval;
        const auto table = history.read_table(*r);
        if (!table && is(table.error(), errc::not_found)) {
            break; // dropped meanwhile: no point needs it
        }
        if (!table && !is_damage(table.error())) {
            return std::unexpected(table.error());
        }
        if (!table) {
            continue;
        }
        for (reach_from &f : all) {
            if (r->place >= f.place || id > f.newest) {
                continue;
            }
            for (const undo_entry &e : table->entries) {
                f.reach.older(id, {e.volume, e.block.value, e.count});
            }
        }
    }
    return {};
}

/// A row that may matter to a walk.
struct walked_row {
    interval_id interval;
    damaged_run run;
    packed_kind kind = packed_kind::zero;
    damaged_run source; ///< of a copy
};

bool wanted(std::span<const reach_from> all, const damaged_run &run) {
    return std::ranges::any_of(all, [&](const reach_from &f) { return f.reach.wants(run); });
}

/// The rows of one stretch, newest first; copies see what was damaged as of the moment. True: a
/// block was spoilt whose rows are not all among these.
bool walk_rows(std::span<const walked_row> rows, interval_id moment, std::vector<reach_from> &all,
               std::set<std::uint64_t> &spoilt) {
    bool missing = false;
    std::vector<reach_from> at_moment;
    for (const walked_row &row : rows) {
        if (at_moment.empty() && row.interval <= moment) {
            at_moment = all;
        }
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (row.interval > all[i].newest) {
                continue;
            }
            all[i].reach.older(row.interval, row.run, row.kind == packed_kind::delta);
            if (row.kind == packed_kind::copy && !at_moment.empty() &&
                at_moment[i].reach.wants(row.source)) {
                all[i].reach.spoilt(row.interval, row.run);
                missing =
                    spoilt.insert(packed_key(row.run.volume, row.run.block)).second || missing;
            }
        }
    }
    return missing;
}

/// What a stretch says of blocks that are wanted, or were spoilt; and copies.
result<std::vector<walked_row>> rows_wanted(const stretch &from, std::span<const reach_from> all,
                                            const std::set<std::uint64_t> &spoilt) {
    std::vector<walked_row> rows;
    const auto read = from.visit([&](const packed_row &row) -> result<> {
        const damaged_run run{row.volume, row.block, row.count};
        const damaged_run source{row.from_volume, row.from_block, 1};
        const bool copy = row.kind == packed_kind::copy;
        if (copy || wanted(all, run) || spoilt.contains(packed_key(row.volume, row.block))) {
            rows.push_back({row.interval, run, row.kind, source});
        }
        return {};
    });
    if (!read && !is_damage(read.error()) && !is(read.error(), errc::not_found)) {
        return std::unexpected(read.error());
    }
    std::ranges::sort(rows, std::greater<>(), &walked_row::interval);
    return rows;
}

/// The same with what is packed, which is older than what is not, or says the same. A page that
/// can't be read says nothing, and nothing behind it in its stretch.
result<> walk_packed(const packed_store &packed, std::vector<reach_from> &all) {
    const auto list = packed.list();
    for (auto s = list->rbegin(); s != list->rend(); ++s) {
        std::set<std::uint64_t> spoilt;
        for (;;) {
            FS_TRY(rows, rows_wanted(**s, all, spoilt));
            std::vector<reach_from> walked = all;
            if (!walk_rows(rows, (*s)->foot().moment, walked, spoilt)) {
                all = std::move(walked);
                break;
            }
        }
    }
    return {};
}

constexpr segment_place behind_all{~std::uint64_t{0}, ~std::uint64_t{0}};

} // namespace

const char *name_of(scrub_part part) {
    switch (part) {
    case scrub_part::journal:
        return "journal";
    case scrub_part::history:
        return "history";
    case scrub_part::images:
        return "image";
    }
    return "?";
}

std::unique_ptr<scrub_source> replica_group::scrub(scrub_part part, std::uint64_t place) const {
    const impl &i = *impl_;
    const auto applied = [&i] {
        const std::scoped_lock lock(i.mutex);
        return i.applied.position.interval;
    };
    const auto committed = [&i] {
        const std::scoped_lock lock(i.mutex);
        return i.committed.applied.interval;
    };
    switch (part) {
    case scrub_part::journal:
        return make_journal_source(*i.journal, applied, place);
    case scrub_part::history:
        return make_history_source(i.core->history(), i.core->packed(), committed, place);
    case scrub_part::images:
        return make_image_source(i.core->images(), place);
    }
    return nullptr;
}

result<std::vector<noted_damage>> replica_group::note_damage(std::span<const scrub_damage> found) {
    impl &i = *impl_;
    std::vector<noted_damage> noted;
    std::vector<reach_from> walk;
    for (const scrub_damage &d : found) {
        if (d.part == scrub_part::journal) {
            report_damage(fmt::format("interval {} in the journal can't be read: {}",
                                      d.interval.value, d.why));
            noted.push_back({.part = d.part, .run = {}, .points = {}, .interval = d.interval});
        } else if (d.all) {
            noted.push_back({.part = d.part,
                             .run = {},
                             .points = {interval_id{}, d.interval},
                             .interval = d.interval});
        } else if (d.part == scrub_part::history && d.place == segment_place{}) { // packed
            walk.push_back(
                {d.place, interval_id{d.interval.value - 1}, damage_reach(d.runs, d.interval)});
        } else if (d.part == scrub_part::history) {
            walk.push_back({d.place, d.interval, damage_reach(d.runs, d.interval)});
        } else {
            const interval_id shown = position().applied.interval;
            walk.push_back({behind_all, shown, damage_reach(d.runs, next(shown))});
        }
    }
    FS_CHECK(walk_back(i.core->history(), walk));
    FS_CHECK(walk_packed(i.core->packed(), walk));
    for (const reach_from &w : walk) {
        const bool image = w.place == behind_all;
        for (const damage_mark &m : w.reach.marks()) {
            noted.push_back({.part = image ? scrub_part::images : scrub_part::history,
                             .run = m.run,
                             .points = m.points,
                             .interval = image ? interval_id{} : m.points.to});
        }
    }
    FS_CHECK(i.mark(noted));
    return noted;
}

// An image's block that is not the primary's is taken by every point since its last change: nobody
// knows when it was spoilt.
result<> replica_group::impl::mark_different(const std::vector<verify_answer> &answers) {
    std::vector<reach_from> walk;
    for (const verify_answer &a : answers) {
        if (a.differs()) {
            const index_range blocks = blocks_of(a.entry.range);
            const damaged_run run{a.entry.volume, blocks.first, blocks.count()};
            walk.push_back({behind_all, a.at, damage_reach(std::span(&run, 1), next(a.at))});
        }
    }
    if (walk.empty()) {
        return {};
    }
    FS_CHECK(walk_back(core->history(), walk));
    FS_CHECK(walk_packed(core->packed(), walk));
    std::vector<noted_damage> found;
    for (const reach_from &w : walk) {
        for (const damage_mark &m : w.reach.marks()) {
            found.push_back({.part = scrub_part::images, .run = m.run, .points = m.points});
        }
    }
    return mark(found);
}

// In memory first: from here on nobody is served such a point as a good one.
result<> replica_group::impl::mark(std::span<noted_damage> all) {
    {
        const std::scoped_lock lock(mutex);
        for (noted_damage &n : all) {
            auto reached = known.points_in(n.points);
            n.point_count = reached.count;
            n.ids = std::move(reached.ids);
            catalogued_damage d{.what = name_of(n.part),
                                .volume = n.run.volume,
                                .block = n.run.block,
                                .count = n.run.count,
                                .from = n.points.from,
                                .to = n.points.to,
                                .found = wall_time(duration(files.now()))};
            if (n.point_count > 0 && known.add_damage(d)) {
                known.unsaved.push_back(std::move(d));
                log::error("{}: damage in the {}: {} point(s) from {} on need it and are marked "
                           "damaged",
                           options.state_directory, name_of(n.part), n.point_count,
                           n.ids.front().value);
            }
        }
    }
    return save_marks();
}

/// What can't be saved now is saved with the next mark, or as retention works.
result<> replica_group::impl::save_marks() {
    const std::scoped_lock one(facts_mutex);
    std::vector<catalogued_damage> fresh;
    {
        const std::scoped_lock lock(mutex);
        fresh = std::exchange(known.unsaved, {});
    }
    auto done = fresh.empty() ? result<>() : facts->add_damages(fresh);
    if (!done) {
        const std::scoped_lock lock(mutex);
        known.unsaved.insert(known.unsaved.begin(), fresh.begin(), fresh.end());
    }
    return done;
}

/// A mark that no point has any more says nothing; none will have it, for new points are newer.
result<> replica_group::impl::settle_marks() {
    FS_CHECK(save_marks());
    const std::scoped_lock one(facts_mutex);
    std::vector<std::uint64_t> gone;
    {
        const std::scoped_lock lock(mutex);
        gone = known.drop_marks();
    }
    return gone.empty() ? result<>() : facts->drop_damages(gone);
}

std::vector<catalogued_damage> replica_group::damages() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->known.damages;
}

std::vector<noted_damage> replica_group::marks_after(std::uint64_t id) const {
    std::vector<noted_damage> all;
    const std::scoped_lock lock(impl_->mutex);
    for (const catalogued_damage &d : impl_->known.damages) {
        if (d.id > id) {
            auto reached = impl_->known.points_in({d.from, d.to});
            all.push_back({.part = d.what == name_of(scrub_part::images) ? scrub_part::images
                                                                         : scrub_part::history,
                           .run = {d.volume, d.block, d.count},
                           .points = {d.from, d.to},
                           .interval = {},
                           .point_count = reached.count,
                           .ids = std::move(reached.ids)});
        }
    }
    return all;
}

} // namespace farshore
