// What the images changed after a barrier, from undo.
//
// The history has every block that changed after a point, once: its first change after the point
// went there (undo_writer.hpp). So what changed after barrier B is within what the history has
// after the newest point P that is not newer than B; P may have been thinned out since, for its
// undo stays. Without such a point all undo goes to the rollback log, which is kept for what came
// after the older commit record.

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/replica/replica_impl.hpp"

#include <algorithm>

namespace farshore {
namespace {

bool before(const region_run &a, const region_run &b) {
    return a.volume != b.volume ? a.volume < b.volume : a.first < b.first;
}

class region_collector {
  public:
    void add(volume_index volume, std::uint64_t block, std::uint64_t count) {
        const std::uint64_t first = block / blocks_per_region;
        const std::uint64_t last = ceil_div(block + count, blocks_per_region);
        if (!runs_.empty() && runs_.back().volume == volume && first >= runs_.back().first &&
            first <= runs_.back().first + runs_.back().count) {
            region_run &run = runs_.back();
            run.count = std::max(run.count, last - run.first);
            return;
        }
        runs_.push_back({volume, first, last - first});
        if (runs_.size() >= unmerged_max) {
            merge(0);
            fit();
        }
    }
    std::vector<region_run> take() {
        merge(0);
        fit();
        return std::move(runs_);
    }

  private:
    static constexpr std::size_t unmerged_max = 1 << 20;

    /// Joins what touches, or is not more than `gap` regions apart.
    void merge(std::uint64_t gap) {
        std::ranges::sort(runs_, before);
        std::vector<region_run> merged;
        for (const region_run &run : runs_) {
            if (!merged.empty() && merged.back().volume == run.volume &&
                run.first <= merged.back().first + merged.back().count + gap) {
                const std::uint64_t end =
                    std::max(merged.back().first + merged.back().count, run.first + run.count);
                merged.back().count = end - merged.back().first;
            } else {
                merged.push_back(run);
            }
        }
        runs_ = std::move(merged);
    }
    void fit() {
        for (std::uint64_t gap = 1; runs_.size() > limits::changed_runs_max; gap *= 2) {
            merge(gap);
        }
    }

    std::vector<region_run> runs_;
};

bool collect_history(replica_core &core, interval_id after, region_collector &out) {
    const auto read = core.each_change(after, interval_id{UINT64_MAX},
                                       [&](volume_index volume, std::uint64_t block,
                                           std::uint64_t count) { out.add(volume, block, count); });
    if (!read) {
        log::warning("{}", read.error().text());
    }
    return read.has_value();
}

bool collect_rollback(const undo_log &undo, interval_id after, region_collector &out) {
    for (const undo_record &record : undo.records_after(after)) {
        const auto table = undo.read_table(record);
        if (!table) {
            log::warning("{}", table.error().text());
            return false;
        }
        for (const undo_entry &e : table->entries) {
            out.add(e.volume, e.block.value, e.count);
        }
    }
    return true;
}

} // namespace

/// Held on return; {0}: none.
interval_id replica_group::impl::hold_point_before(interval_id id) {
    const std::scoped_lock lock(mutex);
    interval_id best;
    for (const catalogued_point &p : known.points) {
        if (p.id <= id) {
            best = std::max(best, p.id);
        }
    }
    if (best.value == 0) {
        return best;
    }
    core->hold(best); // nothing after it is dropped from here on
    return best;
}

std::optional<std::vector<region_run>> replica_group::changed_since(interval_id id) {
    impl &i = *impl_;
    region_collector changed;
    if (const interval_id point = i.hold_point_before(id); point.value != 0) {
        interval_id nearest = point;
        i.core->history().each([&](const undo_record &record) {
            const interval_id at = record.header.position.interval;
            if (record.header.point && record.header.last && at <= id) {
                nearest = std::max(nearest, at);
            }
        });
        const bool read = collect_history(*i.core, nearest, changed);
        i.core->release(point);
        const std::scoped_lock lock(i.mutex);
        return read && point > i.known.suspect ? std::optional(changed.take()) : std::nullopt;
    }
    const bool read = id.value != 0 && collect_history(*i.core, id, changed) &&
                      collect_rollback(i.core->rollback(), id, changed);
    const std::scoped_lock lock(i.mutex);
    return read && id >= i.safe && id > i.known.suspect
               ? std::optional(changed.take())
               : std::nullopt; // asked last: a commit may have freed some
}

// Ids alone name no barrier: where the copy was put back, another stream may have given out the
// same ones again. An interval is of the stream of the next one that is known; where two streams
// meet there, it is not said to be of one.
std::optional<std::vector<region_run>> replica_group::changed_since(stream_position after) {
    stream_position known = position().applied;
    const auto look = [&known, after](const undo_record &record) {
        const stream_position &at = record.header.position;
        if (at.interval >= after.interval && at.interval < known.interval) {
            known = at;
        }
    };
    for (const auto &s : *impl_->core->packed().list()) {
        for (const packed_stream &at : s->streams()) {
            if (at.last >= after.interval && at.last < known.interval) {
                known = {at.stream, at.last};
            }
        }
    }
    impl_->core->history().each(look);
    impl_->core->rollback().each(look);
    const bool had = known.stream == after.stream && known.interval >= after.interval;
    return had ? changed_since(after.interval) : std::nullopt;
}

} // namespace farshore
