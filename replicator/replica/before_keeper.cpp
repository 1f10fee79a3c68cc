#include "replicator/replica/before_keeper.hpp"

#include "replicator/base/bytes.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <algorithm>
#include <utility>

namespace farshore {

before_keeper::before_keeper(replica_core &core, interval_id newest_point, stream_position first)
    : core_(core), interval_(first), keeps_(newest_point.value != 0),
      kept_(limits::covered_bytes_max) {
    if (!keeps_) {
        return;
    }
    for (const undo_record &record : core_.history().records_after(newest_point)) {
        const auto table = core_.history().read_table(record);
        if (!table) { // what it had is kept once more, which does no harm
            log::warning("{}", table.error().text());
            continue;
        }
        for (const undo_entry &entry : table->entries) {
            kept_.add(entry.volume, entry.block.value, entry.count);
        }
    }
}

// What fails after a failure, and a sync, is final even where it is for want of space.
result<> before_keeper::final(const result<> &done) {
    return done || is(done.error(), errc::dead) ? done : fail(errc::dead, done.error().text());
}

/// The history as it was before what failed, and the failure.
result<> before_keeper::taken_back(segment_place before, const result<> &failed) {
    FS_CHECK(final(core_.history().back_to(before)));
    return failed;
}

index_range before_keeper::regions_around(volume_index volume, byte_range range) const {
    const std::uint64_t first = range.offset / region_bytes * blocks_per_region;
    const std::uint64_t last = ceil_div(range.end(), region_bytes) * blocks_per_region;
    return {first, std::min(last, core_.images().volume_blocks()[volume.value])};
}

bool before_keeper::has_locked(volume_index volume, index_range blocks) const {
    for (std::uint64_t at = blocks.first; keeps_ && at < blocks.last;) {
        const block_set::run run = kept_.look(volume, at, blocks.last - at);
        if (!run.in) {
            return false;
        }
        at += run.count;
    }
    return true;
}

bool before_keeper::has(volume_index volume, byte_range range) const {
    const std::scoped_lock lock(mutex_);
    return has_locked(volume, regions_around(volume, range));
}

void before_keeper::give_up() {
    const std::scoped_lock lock(mutex_);
    keeps_ = false;
}

result<> before_keeper::keep(volume_index volume, byte_range range) {
    want mine{volume, regions_around(volume, range), false, {}};
    std::unique_lock lock(mutex_);
    if (has_locked(volume, mine.blocks)) {
        return {};
    }
    wants_.push_back(&mine);
    while (!mine.done) {
        if (leading_) {
            written_.wait(lock);
            continue;
        }
        leading_ = true;
        const std::vector<want *> all = std::exchange(wants_, {});
        lock.unlock();
        const result<> done = write(all);
        lock.lock();
        leading_ = false;
        for (want *w : all) {
            w->outcome = done;
            w->done = true;
        }
        written_.notify_all();
    }
    return mine.outcome;
}

// All or nothing: what was written for a failed batch is forgotten.
result<> before_keeper::write(const std::vector<want *> &wants) {
    undo_log &history = core_.history();
    const std::scoped_lock one(order_);
    const segment_place before = history.position();
    history.begin(interval_);
    result<> done;
    for (const want *w : wants) {
        done = done ? add(w->volume, w->blocks) : done;
    }
    done = done ? history.end_part() : done;
    if (!done) {
        return taken_back(before, done);
    }
    FS_CHECK(final(history.sync()));
    const std::vector<undo_table> tables = history.fresh();
    core_.publish(); // first: who finds a region in the set changes the image
    const std::scoped_lock lock(mutex_);
    for (const undo_table &table : tables) {
        for (const undo_entry &entry : table.entries) {
            kept_.add(entry.volume, entry.block.value, entry.count);
        }
    }
    return {};
}

/// What the set does not have of them, once.
result<> before_keeper::add(volume_index volume, index_range blocks) {
    undo_log &history = core_.history();
    buffer content(static_cast<std::size_t>(region_bytes));
    for (std::uint64_t at = blocks.first; at < blocks.last;) {
        block_set::run run;
        {
            const std::scoped_lock lock(mutex_);
            run = kept_.look(volume, at, std::min(blocks.last - at, blocks_per_region));
        }
        if (run.in) {
            at += run.count;
            continue;
        }
        const bytes_span read =
            content.span().first(static_cast<std::size_t>(run.count * block_bytes));
        FS_CHECK(core_.images().read_blocks(volume, at, read));
        FS_CHECK(is_zero(read) ? history.add_zero(volume, block_index{at}, run.count)
                               : history.add_raw(volume, block_index{at}, read));
        at += run.count;
    }
    return {};
}

result<std::optional<stream_position>> before_keeper::end_interval(const undo_outcome &outcome) {
    undo_log &history = core_.history();
    const segment_place before = history.position();
    history.begin(interval_);
    if (!outcome.point && !history.begun()) {
        return std::nullopt;
    }
    if (auto ended = history.end(outcome); !ended) {
        FS_CHECK(taken_back(before, ended));
    }
    FS_CHECK(final(history.sync()));
    core_.publish();
    const stream_position ended = interval_;
    interval_.interval = next(interval_.interval);
    return ended;
}

} // namespace farshore
