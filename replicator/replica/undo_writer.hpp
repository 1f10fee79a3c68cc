#pragma once
// The writing side of a group's two undo logs: says which one takes a block's old content.
//
// Points need, for each block, the first content after the point. So the history (undo/) takes a
// block once after each new point; it is kept as long as the points before it. Every later change
// up to the next point goes to the rollback log (rollback/), which is needed only until both commit
// records are past it, some seconds. While order is lost there are no new points, perhaps for days,
// and the same blocks change over and over: the history then grows to the size of the volumes and
// no further. Without any point everything goes to the rollback log.
//
// Invariants. (1) A block that goes to the rollback log has a record in the history that is newer
// than the newest point ("is covered"), or there is no point. (2) In one step of apply all records
// of a block go to one log: a step ends, at the latest, with the interval that changes the answer
// for a block (step_ends). A crash may leave either log without the end of a step; what is left of
// the other one must not say "b held c" of a c that was never in an image because the record before
// it is the one that is lost. (3) Within one interval a block goes to the history first and to the
// rollback log later, never the other way round. The readers (point_view) stand on (1) and (3), the
// roll-back (replica_recovery.cpp) on (2) and (3).
//
// The last record of each point is in the history. Other intervals have one there when they have
// anything there, so that a catch-up that goes on for ever adds nothing; the rollback log has none.
//
// Threads: the apply thread.

#include "replicator/replica/block_set.hpp"
#include "replicator/replica/point_view.hpp"

namespace farshore {

class undo_writer {
  public:
    /// `newest_point` {0}: none. What the history has after it is read; a table that can't be read
    /// covers nothing.
    undo_writer(replica_core &core, interval_id newest_point);

    // One interval, as in undo_log.
    void begin(stream_position position);
    result<> add_zero(volume_index volume, std::uint64_t block, std::uint64_t count);
    result<> add_raw(volume_index volume, std::uint64_t block, bytes_view content);
    result<> end_part();
    result<> end(const undo_outcome &outcome);

    struct places {
        segment_place history;
        segment_place rollback;
    };
    places position() const;
    /// Forgets the unpublished records after `at` in both logs.
    result<> back_to(const places &at);
    /// No interval may follow in this step.
    bool step_ends() const { return step_ends_; }
    /// To be called last in a step that ends inside an interval.
    void end_step_inside();
    /// What both logs hold is durable on return. A failure is final.
    result<> sync();
    std::uint64_t fresh_entries() const;

  private:
    void cover(const undo_table &table);
    bool cover_fresh();
    /// The log for the first of `count` blocks, and for how many of them.
    std::pair<undo_log *, std::uint64_t> route(volume_index volume, std::uint64_t block,
                                               std::uint64_t count);

    undo_log &history_;
    undo_log &rollback_;
    interval_id newest_point_;
    block_set covered_;
    interval_id interval_; ///< being written
    bool step_ends_ = false;
};

} // namespace farshore
