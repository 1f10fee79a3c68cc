#include "replicator/replica/undo_writer.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <algorithm>
#include <ranges>

namespace farshore {

undo_writer::undo_writer(replica_core &core, interval_id newest_point)
    : history_(core.history()), rollback_(core.rollback()), newest_point_(newest_point),
      covered_(limits::covered_bytes_max) {
    if (newest_point_.value == 0) {
        return;
    }
    for (const undo_record &record : history_.records_after(newest_point_)) {
        if (const auto table = history_.read_table(record)) {
            cover(*table);
        } else {
            log::warning("{}", table.error().text());
        }
    }
}

void undo_writer::cover(const undo_table &table) {
    for (const undo_entry &entry : table.entries) {
        covered_.add(entry.volume, entry.block.value, entry.count);
    }
}

/// What the interval has in the history and is not published yet; false: nothing.
bool undo_writer::cover_fresh() {
    bool any = false;
    for (const undo_table &table : std::views::reverse(history_.fresh())) {
        if (table.record.header.position.interval != interval_) {
            break;
        }
        cover(table);
        any = true;
    }
    return any;
}

void undo_writer::end_step_inside() {
    if (newest_point_.value != 0) {
        cover_fresh();
    }
}

std::pair<undo_log *, std::uint64_t> undo_writer::route(volume_index volume, std::uint64_t block,
                                                        std::uint64_t count) {
    if (newest_point_.value == 0) {
        return {&rollback_, count};
    }
    if (covered_.empty()) {
        return {&history_, count};
    }
    const block_set::run run = covered_.look(volume, block, count);
    return {run.in ? &rollback_ : &history_, run.count};
}

void undo_writer::begin(stream_position position) {
    interval_ = position.interval;
    history_.begin(position);
    rollback_.begin(position);
}

result<> undo_writer::add_zero(volume_index volume, std::uint64_t block, std::uint64_t count) {
    while (count > 0) {
        const auto [log, some] = route(volume, block, count);
        FS_CHECK(log->add_zero(volume, block_index{block}, some));
        block += some;
        count -= some;
    }
    return {};
}

result<> undo_writer::add_raw(volume_index volume, std::uint64_t block, bytes_view content) {
    while (!content.empty()) {
        const auto [log, some] = route(volume, block, content.size() / block_bytes);
        const auto bytes = static_cast<std::size_t>(some * block_bytes);
        FS_CHECK(log->add_raw(volume, block_index{block}, content.first(bytes)));
        block += some;
        content = content.subspan(bytes);
    }
    return {};
}

result<> undo_writer::end_part() {
    FS_CHECK(history_.end_part());
    return rollback_.end_part();
}

result<> undo_writer::end(const undo_outcome &outcome) {
    FS_CHECK(rollback_.end_part());
    if (outcome.point || history_.begun()) {
        FS_CHECK(history_.end(outcome));
    }
    if (outcome.point) {
        step_ends_ = !rollback_.fresh().empty();
        newest_point_ = interval_;
        covered_.clear();
    } else if (newest_point_.value != 0) {
        step_ends_ = cover_fresh();
    }
    return {};
}

undo_writer::places undo_writer::position() const {
    return {history_.position(), rollback_.position()};
}

result<> undo_writer::back_to(const places &at) {
    FS_CHECK(history_.back_to(at.history));
    return rollback_.back_to(at.rollback);
}

// Where nothing is new it costs nothing.
result<> undo_writer::sync() {
    FS_CHECK(history_.sync());
    FS_CHECK(rollback_.sync());
    step_ends_ = false;
    return {};
}

std::uint64_t undo_writer::fresh_entries() const {
    return history_.fresh_entries() + rollback_.fresh_entries();
}

} // namespace farshore
