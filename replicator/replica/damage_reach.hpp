#pragma once
// Which recovery points a damaged piece of a copy reaches: pure.
//
// A point P takes a block from the oldest record of the history after P that has it, else from the
// image. So what record k says of block b is taken by exactly the points P with j <= P < k, j being
// the newest older record that has b too (none: all points before k). An image's block is like a
// record behind all others.
//
// Packed rows may lead to other content: a delta to what its own block held next, a copy to another
// block. Where that is damaged, so is what they say themselves, and the reach goes on from them.
//
// Cost: one look at each entry of the older records, newest first, until every block was met.
//
// Threads: none.

#include "replicator/base/types.hpp"

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace farshore {

/// Blocks [block, block + count) of one volume that can't be trusted.
struct damaged_run {
    volume_index volume;
    std::uint64_t block = 0;
    std::uint64_t count = 0;
    bool operator==(const damaged_run &) const = default;
};

/// Points P with from <= P < to.
struct point_span {
    interval_id from;
    interval_id to;
    bool has(interval_id p) const { return from <= p && p < to; }
    bool operator==(const point_span &) const = default;
};

/// A run and the points that take it.
struct damage_mark {
    damaged_run run;
    point_span points;
    bool operator==(const damage_mark &) const = default;
};

class damage_reach {
  public:
    /// `to`: the interval of the damaged record; for an image, the one after the last that it
    /// shows. Runs may overlap.
    damage_reach(std::span<const damaged_run> runs, interval_id to);

    /// An entry of an older record, or of an older part of the same interval. Newest records first.
    /// `leads`: it is a delta; what it says is damaged then, too.
    void older(interval_id id, const damaged_run &has, bool leads = false);
    /// After older() of the same entry: a copy of what is damaged.
    void spoilt(interval_id id, const damaged_run &has);
    /// A block of it was not met yet.
    bool wants(const damaged_run &has) const;
    /// Every block was met: older records say nothing more.
    bool settled() const { return open_.empty(); }
    /// In order of place; neighbours with the same points are one. What was not met reaches back to
    /// the oldest point.
    std::vector<damage_mark> marks() const;

  private:
    struct open_run {
        std::uint64_t end;
        interval_id to; ///< of the entry that says it
    };
    /// What is not met yet: (volume, first block) -> end and interval. Nothing overlaps.
    std::map<std::pair<std::uint16_t, std::uint64_t>, open_run> open_;
    std::vector<damage_mark> met_;
};

/// In order, without overlaps; neighbours are one.
std::vector<point_span> merged(std::vector<point_span> spans);
/// The one of merged() spans that has the point; null: none.
const point_span *span_of(std::span<const point_span> merged_spans, interval_id point);

} // namespace farshore
