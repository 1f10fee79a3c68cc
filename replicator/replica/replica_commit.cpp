// The commit record of a running group: when one is due, what is looked at before it is written,
// and what it gives back.

#include "replicator/base/log.hpp"
#include "replicator/replica/replica_impl.hpp"

#include <algorithm>

namespace farshore {

// Times of this stop alone, after the content is durable: a snapshot of the storage below may have
// the times of the last write over content that was not written back yet.
result<> replica_group::close() {
    FS_CHECK(commit());
    if (impl_->served || impl_->apply_stage->inside_step()) {
        return {};
    }
    FS_CHECK(impl_->note_touch());
    FS_CHECK(impl_->core->images().renew_times());
    FS_CHECK(impl_->commit(true));
    return impl_->facts->checkpoint();
}

result<> replica_group::commit() {
    FS_CHECK(impl_->check_alive());
    return impl_->commit(false);
}

/// The images that apply did not write since the commit and that are not as it left them
/// (replica/image_cases.hpp).
result<std::string> replica_group::impl::find_disturbed() const {
    FS_TRY(found, core->images().stamps());
    std::string changed;
    for (std::uint16_t v = 0; v < found.size() && v < committed.images.size(); ++v) {
        const volume_index volume{v};
        if (core->images().has_times(volume) && !core->images().dirty(volume) &&
            disturbed(committed.images[v], found[v])) {
            changed += (changed.empty() ? "" : ", ") + core->images().path(volume);
        }
    }
    return changed;
}

/// Of such an image points that show what it holds are suspect, and everything is compared.
result<> replica_group::impl::check_undisturbed() {
    FS_TRY(changed, find_disturbed());
    if (changed.empty()) {
        return {};
    }
    log::error("{}: somebody else wrote to {} while the receiver runs: the points of before are "
               "suspect, and everything "
               "is compared",
               options.state_directory, changed);
    apply_stage->add_damage();
    const std::scoped_lock lock(mutex);
    applied.damage_count += 1;
    // Else there is no point, and a time without one is no commit record.
    if (applied.position.interval.value != 0) {
        known.suspect = std::max(known.suspect, applied.position.interval);
        known.suspect_time = wall_time(duration(files.now()));
    }
    trouble = changed + " was written by somebody else while the receiver runs";
    uncommitted = true;
    return {};
}

/// What the images show now, how they are left, and where the undo ends.
result<commit_record> replica_group::impl::next_record() const {
    commit_record record;
    record.sequence = committed.sequence + 1;
    const auto durable = journal->durable();
    {
        const std::scoped_lock lock(mutex);
        record.applied = applied.position;
        record.consistent = applied.consistent;
        record.served = served != nullptr;
        record.applied_time = applied.time;
        record.applied_arrival = applied.arrival;
        record.damage_count = applied.damage_count + reported_damage;
        record.healed_count = applied.healed_count;
        record.durable =
            durable && durable->interval > applied.position.interval ? *durable : applied.position;
        if (!known.points.empty()) {
            record.point = known.points.back().id;
            record.point_time = known.points.back().time;
            record.point_arrival = known.points.back().arrival;
        }
        record.suspect = known.suspect;
        record.suspect_time = known.suspect_time;
    }
    FS_TRY(left, core->images().stamps());
    record.images = std::move(left);
    const segment_place history = core->history().end_place();
    record.undo_segment = history.segment;
    record.undo_offset = history.offset;
    const segment_place rollback = core->rollback().end_place();
    record.rollback_segment = rollback.segment;
    record.rollback_offset = rollback.offset;
    return record;
}

result<> replica_group::impl::commit(bool always) {
    if (served) {
        return commit_served(always);
    }
    if (auto named = core->images().check_named(); !named) {
        return die(named.error());
    }
    if (apply_stage && !apply_stage->inside_step()) {
        if (auto checked = check_undisturbed(); !checked) {
            return die(checked.error());
        }
    }
    if (apply_stage && !apply_stage->inside_step()) {
        if (auto closed = close_quiet_history(); !closed) {
            return die(closed.error());
        }
    }
    // Once more after the last interval: then the older record needs no more than the newer one,
    // and journal and undo give all their space back.
    bool due = always || uncommitted || safe != committed.applied.interval ||
               older_segments.history < core->history().end_place().segment;
    {
        const std::scoped_lock lock(mutex);
        due = due || known.suspect != committed.suspect;
    }
    if (!due || (apply_stage && apply_stage->inside_step())) {
        return {};
    }
    if (auto synced = core->images().sync(); !synced) {
        return die(synced.error());
    }
    auto record = next_record();
    if (!record) {
        return die(record.error());
    }
    if (auto written = write_commit(*record); !written) {
        return die(written.error());
    }
    uncommitted = false;
    give_back(record->applied.interval);
    return {};
}

/// What nobody needs after a commit record. The records are good whether or not space comes back.
void replica_group::impl::give_back(interval_id through) {
    note_points(through);
    auto dropped = journal->drop_through(std::min(safe, labels_noted()));
    if (dropped) {
        dropped = reclaim();
    }
    if (dropped) {
        dropped = loans->release(safe);
    }
    if (!dropped) {
        log::warning("{}: {}", options.state_directory, dropped.error().text());
    }
}

result<> replica_group::impl::write_commit(const commit_record &record) {
    file &state = core->state_file();
    FS_CHECK(state.write_at(next_slot * commit_slot_bytes, encode_commit_slot(record)));
    FS_CHECK(state.sync_data());
    next_slot = 1 - next_slot;
    const std::scoped_lock lock(mutex);
    safe = committed.applied.interval;
    older_segments.history = std::min(committed.undo_segment, record.undo_segment);
    older_segments.rollback = std::min(committed.rollback_segment, record.rollback_segment);
    committed = record;
    return {};
}

/// Two commits free what the older commit record kept in journal and rollback log.
result<> replica_group::impl::free_committed() {
    {
        const std::scoped_lock lock(mutex);
        append_starved = false;
    }
    FS_CHECK(commit(true));
    return commit(true);
}

/// Whether commits are due for the sake of space: append had none, or undo that is needed up to the
/// next commits takes so much that points would have to go for it.
bool replica_group::impl::starved() const {
    constexpr std::uint64_t rollback_share = 8;
    const std::scoped_lock lock(mutex);
    return append_starved ||
           core->rollback().used_bytes() > options.journal_bytes_max / rollback_share;
}

} // namespace farshore
