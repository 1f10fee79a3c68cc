// A copy that is served: clients write to its images, in place of apply. What its points need is
// kept before (before_keeper.hpp); the commit record says so, for what undo has then is no
// roll-back.
//
//   commit record   wanted     at open
//   not served      not        recovery_cases.hpp
//   not served      served     the same; then it begins, unless intervals wait to be applied
//   served          served     images and history stand as they are; it goes on
//   served          not        the same; then what the images hold becomes a point, and it is over
//
// Both changes end with one commit record, and are made again after a crash before it.

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/replica/label_text.hpp"
#include "replicator/replica/replica_impl.hpp"
#include "replicator/replica/space_error.hpp"

#include <algorithm>
#include <random>
#include <tuple>

namespace farshore {
namespace {

stream_id random_stream() {
    std::random_device random;
    stream_id id;
    while (id.value == 0) {
        id.value = (std::uint64_t{random()} << 32) | random();
    }
    return id;
}

} // namespace

result<> replica_group::impl::settle_served() {
    if (options.serve) {
        return begin_served();
    }
    return committed.served ? end_served() : result<>();
}

/// The first interval that nothing here has, in a stream of its own.
stream_position replica_group::impl::after_all() const {
    interval_id newest = last_known().interval;
    core->history().each([&](const undo_record &record) {
        newest = std::max(newest, record.header.position.interval);
    });
    return {random_stream(), next(newest)};
}

undo_outcome replica_group::impl::outcome_now() const {
    const std::scoped_lock lock(mutex);
    undo_outcome outcome;
    outcome.damage_count = applied.damage_count;
    outcome.healed_count = applied.healed_count;
    return outcome;
}

// The end of the history after the commit is what clients' writes had kept; a torn record there is
// cut already, and what it speaks of was not changed. A hole in it makes the points useless, and
// says nothing against the images. All of it counts as applied, a point that end_served() had made
// too.
result<> replica_group::impl::recover_served() {
    const undo_evidence &found = core->history().evidence();
    recovery_decision decision;
    decision.drop_points = found.history_broken || found.tail_broken;
    if (decision.drop_points) {
        log::error("{}: the history is damaged: the points of before are lost; what clients wrote "
                   "is not touched by that",
                   options.state_directory);
        FS_CHECK(core->packed().clear());
        FS_CHECK(core->set_packed());
        FS_CHECK(core->history().cut_after({}, {}));
        committed.point = {};
        committed.point_time = {};
        committed.point_arrival = {};
    }
    core->history().each([&](const undo_record &record) {
        if (record.header.position.interval > committed.applied.interval) {
            committed.applied = record.header.position;
            committed.consistent = record.header.point;
        }
    });
    FS_CHECK(rebuild_points(decision));
    applied_as_committed();
    return {};
}

result<> replica_group::impl::begin_served() {
    if (!committed.served && !journal->entries_after(applied.position.interval, 1).empty()) {
        return {}; // once it is applied
    }
    const bool begins = !committed.served;
    if (begins) {
        FS_CHECK(core->images().sync());
    }
    keep_all = options.keep_all;
    served = std::make_unique<before_keeper>(
        *core, known.points.empty() ? interval_id{} : known.points.back().id, after_all());
    return commit_served(true);
}

// The point has its name in the catalogue before the commit record is written, and is made again if
// that is not reached: a name that two points have is the newer one's.
result<> replica_group::impl::end_served() {
    before_keeper last(*core, {}, after_all());
    undo_outcome outcome = outcome_now();
    outcome.consistent = outcome.point = true;
    outcome.time = outcome.arrival = wall_time(duration(files.now()));
    FS_TRY(ended, last.end_interval(outcome));
    catalogued_point p{ended->interval, outcome.time, outcome.arrival};
    if (options.left_as) {
        put_label(p, *options.left_as);
        p.pinned = true;
    }
    {
        const std::scoped_lock lock(mutex);
        applied.position = *ended;
        applied.consistent = true;
        applied.time = outcome.time;
        applied.arrival = outcome.arrival;
        known.points.push_back(p);
    }
    FS_CHECK(core->images().sync());
    const std::scoped_lock one(facts_mutex);
    FS_CHECK(note_points_now(p.id));
    if (p.pinned) {
        FS_CHECK(facts->pin(p.id, true));
    }
    FS_TRY(record, next_record());
    return write_commit(record);
}

result<> replica_group::impl::commit_served(bool always) {
    const std::scoped_lock one(served->order());
    if (auto named = core->images().check_named(); !named) {
        return die(named.error());
    }
    auto ended = served->end_interval(outcome_now());
    if (!ended && !wants_space(ended.error())) {
        return die(ended.error());
    }
    if (ended && *ended) {
        const std::scoped_lock lock(mutex);
        applied.position = **ended;
        applied.consistent = false;
    }
    if (auto closed = close_quiet_history(); !closed) {
        return die(closed.error());
    }
    bool due = always || (ended && *ended) || safe != committed.applied.interval ||
               older_segments.history < core->history().end_place().segment;
    {
        const std::scoped_lock lock(mutex);
        due = due || known.suspect != committed.suspect;
    }
    if (!due) {
        return {};
    }
    auto record = next_record();
    if (!record) {
        return die(record.error());
    }
    if (auto written = write_commit(*record); !written) {
        return die(written.error());
    }
    give_back(record->applied.interval);
    return {};
}

bool replica_group::served() const { return impl_->served != nullptr; }

bool replica_group::kept_before(volume_index volume, byte_range range) const {
    return impl_->served->has(volume, range);
}

void replica_group::let_points_go() { impl_->keep_all = false; }

// Without room for more history the points go before a client's write is refused, once they may.
result<> replica_group::keep_before(volume_index volume, byte_range range) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    auto kept = i.served->keep(volume, range);
    if (kept || (wants_space(kept.error()) && i.keep_all)) {
        return kept;
    }
    if (!wants_space(kept.error())) {
        return i.die(kept.error());
    }
    const std::scoped_lock one(i.served->order());
    {
        const std::scoped_lock lock(i.mutex);
        if (!i.known.points.empty() && i.known.suspect < i.known.points.back().id) {
            i.known.suspect = i.known.points.back().id;
            i.known.suspect_time = wall_time(duration(i.files.now()));
            log::error("{}: {}. Clients' writes go on, and none of the points shows any more what "
                       "was: all are suspect",
                       i.options.state_directory, kept.error().text());
        }
    }
    if (auto noted = i.note_suspicion(); !noted) {
        return i.die(noted.error());
    }
    i.served->give_up();
    return {};
}

result<> replica_group::each_change_after(
    interval_id point,
    const std::function<result<>(volume_index, std::uint64_t, std::uint64_t)> &fn) {
    impl &i = *impl_;
    {
        const std::scoped_lock lock(i.mutex);
        FS_TRY(at, i.known.place_of(point));
        static_cast<void>(at);
        i.core->hold(point);
    }
    std::vector<region_run> changed;
    const auto read =
        i.core->each_change(point, interval_id{limits::interval_id_max},
                            [&](volume_index volume, std::uint64_t block, std::uint64_t count) {
                                changed.push_back({volume, block, count});
                            });
    result<> done = read;
    std::ranges::sort(changed, {}, [](const region_run &r) {
        return std::tuple(r.volume.value, r.first, r.count);
    });
    for (const region_run &run : changed) {
        done = done ? fn(run.volume, run.first, run.count) : done;
    }
    i.core->release(point);
    return done;
}

// Padded at the volume's end, as the images take blocks.
result<> replica_group::go_back_to(interval_id point) {
    impl &i = *impl_;
    FS_TRY(past, open_point(point, true));
    buffer old(static_cast<std::size_t>(limits::MiB));
    FS_CHECK(each_change_after(
        point, [&](volume_index volume, std::uint64_t first, std::uint64_t count) -> result<> {
            const std::uint64_t size = i.volumes[volume.value].size;
            const std::uint64_t piece = old.size() / block_bytes;
            for (std::uint64_t at = first; at < first + count; at += piece) {
                const std::uint64_t blocks = std::min(piece, first + count - at);
                const std::uint64_t begin = at * block_bytes;
                const byte_range range{begin, std::min(blocks * block_bytes, size - begin)};
                const bytes_span part =
                    old.span().first(static_cast<std::size_t>(blocks * block_bytes));
                std::ranges::fill(part, std::byte{0});
                FS_CHECK(past.devices[volume.value]->read(
                    begin, part.first(static_cast<std::size_t>(range.length))));
                FS_CHECK(keep_before(volume, range));
                FS_CHECK(i.core->images().write_blocks(volume, at, part));
            }
            return {};
        }));
    return i.core->images().sync();
}

} // namespace farshore
