#pragma once
// What readers of a group share with apply: images, both undo logs, and the views of open points.
//
// A view is an index from blocks to the undo that holds them as of its point. Before apply writes
// the images it publishes the batch's undo here, into every open view; a reader looks in the index,
// else reads the image, then looks again: what was published meanwhile replaces what it read. So it
// never sees a block of a later state, whether it read before, during or after the write.
//
// Points need the history only: a block goes to the rollback log (undo_writer.hpp) when the history
// has it already, newer than the newest point, and so newer than every point. Apply itself, in the
// middle of an interval, needs the state before that interval, which may be no point: its view has
// the interval's records of both logs.
//
// Threads: any. publish() by the apply thread.

#include "replicator/log/undo_log.hpp"
#include "replicator/replica/changed_blocks.hpp"
#include "replicator/replica/images.hpp"
#include "replicator/replica/point_index.hpp"
#include "replicator/storage/block_device.hpp"

#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <vector>

namespace farshore {

class replica_core;

/// What a view is of.
enum class view_kind : std::uint8_t {
    point,    ///< a point: the history is enough
    any_state ///< the newest applied state, point or not, while what follows it is not committed
};

/// What a point changed since an older one, for who asked for it.
struct point_changes {
    interval_id since;
    std::shared_ptr<const changed_blocks> blocks; ///< null: nobody asked
};

struct point_view {
    point_view(std::shared_ptr<replica_core> c, interval_id i, view_kind k);
    ~point_view();
    point_view(const point_view &) = delete;
    point_view &operator=(const point_view &) = delete;

    void insert(const undo_table &table, bool rollback);

    const std::shared_ptr<replica_core> core;
    const interval_id id;
    const view_kind kind;
    mutable std::shared_mutex mutex; ///< guards index
    point_index index;
};

class replica_core : public std::enable_shared_from_this<replica_core> {
  public:
    replica_core(std::unique_ptr<file> state_lock, std::unique_ptr<replica_images> images,
                 std::unique_ptr<undo_log> history, std::unique_ptr<undo_log> rollback)
        : lock_(std::move(state_lock)), images_(std::move(images)), history_(std::move(history)),
          rollback_(std::move(rollback)) {}

    replica_images &images() { return *images_; }
    undo_log &history() { return *history_; }   ///< behind the points
    undo_log &rollback() { return *rollback_; } ///< needed up to the next commits only
    file &state_file() { return *lock_; }

    /// Keeps the history after `id` until released; a view does so for its life.
    void hold(interval_id id);
    void release(interval_id id);
    std::set<interval_id> held() const;

    /// A view of the state after interval `id`; all undo after it must be held by the caller.
    /// Scans the undo tables after it: apply waits meanwhile. Errors: the disk's, errc::corrupt.
    result<std::shared_ptr<point_view>> open_view(interval_id id, view_kind kind);
    /// Makes the fresh records of both logs visible to the views and to views opened later.
    void publish();
    /// Whole blocks as of the view, zero-padded past the volume's end.
    result<> read_blocks(const point_view &view, volume_index volume, std::uint64_t block,
                         bytes_span out);
    /// One device a volume.
    std::vector<std::shared_ptr<block_device>> devices(const std::shared_ptr<point_view> &view,
                                                       std::size_t volumes,
                                                       const point_changes &changes);

  private:
    std::unique_ptr<file> lock_; ///< group.state, locked as long as anybody reads
    std::unique_ptr<replica_images> images_;
    std::unique_ptr<undo_log> history_;
    std::unique_ptr<undo_log> rollback_;
    mutable std::mutex holds_mutex_;
    std::multiset<interval_id> holds_;
    std::mutex views_mutex_; ///< publishing and opening exclude each other
    std::vector<std::weak_ptr<point_view>> views_;
};

} // namespace farshore
