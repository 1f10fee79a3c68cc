#pragma once
// What clients change in the images of a served copy, kept for the points of before: the old
// content of a 64 KiB region goes to the history, durably, before anything of the region is changed
// for the first time since the newest point. A later change of it costs a look at a set.
//
// The records are those of apply (undo_writer.hpp), in intervals that nobody sent: ids go on from
// the copy's newest one, in a stream of this site's own. So points are opened, packed, thinned and
// marked as ever, and a primary that asks what changed since a barrier hears of these regions too.
// There is nothing to roll back to: the rollback log is not written.
//
// Writers that wait share one sync (group commit): the first of them writes for all.
//
// Crash story. keep() returns only when the old content is durable, so whatever part of a write
// reached an image, the history has what was there. A record that was being written is torn, and
// its region was not changed.
//
// Threads: any; `order` excludes commits and retention, which change the history, too.

#include "replicator/base/geometry.hpp"
#include "replicator/replica/block_set.hpp"
#include "replicator/replica/point_view.hpp"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

namespace farshore {

class before_keeper {
  public:
    /// `newest_point` {0}: there is none, and nothing is kept. `first`: id of the first interval.
    /// What the history has after the point is read.
    before_keeper(replica_core &core, interval_id newest_point, stream_position first);

    /// keep() would return at once.
    bool has(volume_index volume, byte_range range) const;
    /// Errors: errc::full, nothing is lost and it can be tried again; any other of the history's
    /// disk is final. The range, not empty, lies in the volume.
    result<> keep(volume_index volume, byte_range range);
    /// There is no point any more that could be opened: nothing is kept from here on.
    void give_up();

    /// Of who changes the history otherwise.
    std::mutex &order() { return order_; }
    /// With order() held: ends the interval that has something, durably; nothing: none has. Errors
    /// as keep(): without room the interval goes on.
    result<std::optional<stream_position>> end_interval(const undo_outcome &outcome);

  private:
    struct want {
        volume_index volume;
        index_range blocks;
        bool done = false;
        result<> outcome;
    };
    bool has_locked(volume_index volume, index_range blocks) const;
    index_range regions_around(volume_index volume, byte_range range) const;
    result<> write(const std::vector<want *> &wants);
    result<> add(volume_index volume, index_range blocks);
    static result<> final(const result<> &done);
    result<> taken_back(segment_place before, const result<> &failed);

    replica_core &core_;
    std::mutex order_; ///< before mutex_
    stream_position interval_;

    mutable std::mutex mutex_;
    bool keeps_;
    block_set kept_;
    std::vector<want *> wants_;
    bool leading_ = false; ///< somebody writes for others
    std::condition_variable written_;
};

} // namespace farshore
