#pragma once
// What readers of a group share with apply: images, both undo logs, packed stretches, and the views
// of open points.
//
// A view is an index from blocks to the undo that holds them as of its point. Before apply writes
// the images it publishes the batch's undo here, into every open view; a reader looks in the index,
// else reads the image, then looks again: what was published meanwhile replaces what it read. So it
// never sees a block of a later state, whether it read before, during or after the write.
//
// A point that is older than the end of the packed stretches has no index of its own: a reader
// looks in the stretches, oldest first, then in one index of all raw undo, which all such views
// share, then in the image. Packing exchanges the stretches and that index at once (set_packed),
// and only then raw undo goes: who finds a segment gone, or the exchange made while it read, looks
// again.
//
// Points need the history only: a block goes to the rollback log (undo_writer.hpp) when the history
// has it already, newer than the newest point, and so newer than every point. Apply itself, in the
// middle of an interval, needs the state before that interval, which may be no point: its view has
// the interval's records of both logs.
//
// Threads: any. publish() by the apply thread.

#include "replicator/history/packed_reader.hpp"
#include "replicator/log/undo_log.hpp"
#include "replicator/replica/changed_blocks.hpp"
#include "replicator/replica/images.hpp"
#include "replicator/replica/undo_places.hpp"
#include "replicator/storage/block_device.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

namespace farshore {

class replica_core;

/// What a view is of.
enum class view_kind : std::uint8_t {
    point,    ///< a point: the history is enough
    moment,   ///< the same for packing: it keeps history and is nobody's opening
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

    const std::shared_ptr<replica_core> core;
    const interval_id id;
    const view_kind kind;
    undo_places places; ///< of no use once stretches reach beyond the point
};

/// What views of old points share; never changed, but for what is published into `raw`.
struct packed_past {
    std::shared_ptr<const stretch_list> stretches;
    std::shared_ptr<undo_places> raw; ///< all raw history; null: nobody reads behind the stretches
    filter_list filters = {};         ///< of the stretches, as long as somebody does

    /// The state after `id` needs stretches.
    bool reaches(interval_id id) const {
        return !stretches->empty() && stretches->back()->foot().last_interval > id;
    }
};

/// What is known of blocks without reading images.
struct known_run {
    std::uint64_t block = 0;
    std::uint64_t count = 0;
    bool zero = false;
};

class replica_core : public std::enable_shared_from_this<replica_core> {
  public:
    replica_core(std::unique_ptr<file> state_lock, std::unique_ptr<replica_images> images,
                 std::unique_ptr<undo_log> history, std::unique_ptr<undo_log> rollback,
                 std::unique_ptr<packed_store> packed);

    replica_images &images() { return *images_; }
    undo_log &history() { return *history_; }   ///< behind the points
    undo_log &rollback() { return *rollback_; } ///< needed up to the next commits only
    packed_store &packed() { return *packed_; } ///< what the history was before
    file &state_file() { return *lock_; }

    /// Keeps the history after `id` until released; a view does so for its life.
    void hold(interval_id id);
    void release(interval_id id);
    std::set<interval_id> held() const;
    /// The oldest that is held, also by packing; nothing: none is.
    std::optional<interval_id> oldest_held() const;

    /// A view of the state after interval `id`; all undo after it must be held by the caller.
    /// Scans the undo tables after it: apply waits meanwhile. Errors: the disk's, errc::corrupt.
    result<std::shared_ptr<point_view>> open_view(interval_id id, view_kind kind);
    /// Makes the fresh records of both logs visible to the views and to views opened later.
    void publish();
    /// Whole blocks as of the view, zero-padded past the volume's end.
    result<> read_blocks(const point_view &view, volume_index volume, std::uint64_t block,
                         bytes_span out);
    /// The same of a few blocks, if it needs no waiting and no stretch or undo has any of them;
    /// false: unspecified content.
    result<bool> try_read_blocks(const point_view &view, volume_index volume, std::uint64_t block,
                                 bytes_span out);
    /// What stretches and undo say of [block, block + count); what is not in it is as in the image.
    result<std::vector<known_run>> look(const point_view &view, volume_index volume,
                                        std::uint64_t block, std::uint64_t count);

    /// Blocks that the history, packed or not, has facts of before an interval in (after, upto]; in
    /// any order, also more than once.
    using change_visitor =
        std::function<void(volume_index volume, std::uint64_t block, std::uint64_t count)>;
    result<> each_change(interval_id after, interval_id upto, const change_visitor &fn);

    /// Readers have the store's list from here on. Views that are open: raw undo is read for the
    /// index that they share, and apply waits meanwhile.
    result<> set_packed();
    /// With that index. Errors: the disk's, errc::corrupt.
    result<std::shared_ptr<const packed_past>> past_with_raw();
    /// One block as of the point `after`, which stretches reach beyond.
    result<> read_as_of(interval_id after, volume_index volume, std::uint64_t block,
                        bytes_span out);
    /// A row's blocks. errc::not_found: the stretch is gone.
    result<> read_row(const std::shared_ptr<const stretch> &from, const packed_row &row,
                      bytes_span out);

    /// One device a volume.
    std::vector<std::shared_ptr<block_device>> devices(const std::shared_ptr<point_view> &view,
                                                       std::size_t volumes,
                                                       const point_changes &changes);

  private:
    std::shared_ptr<const packed_past> past() const;
    /// With filters where there is an index of raw undo.
    void set_past(packed_past past);
    result<std::shared_ptr<undo_places>> index_raw(const stretch_list &stretches);
    result<> read_once(const point_view &view, volume_index volume, std::uint64_t block,
                       bytes_span out);
    result<> read_raw(const indexed_run &run, bytes_span out) const;
    result<> again_while_moved(const std::function<result<>()> &read);
    result<std::vector<packed_reader::place>> look_packed(const packed_past &past, interval_id id,
                                                          volume_index volume, std::uint64_t block,
                                                          std::uint64_t count);
    friend class past_present;
    friend struct point_view;
    void hold_moment(interval_id id);
    void release_moment(interval_id id);

    std::unique_ptr<file> lock_; ///< group.state, locked as long as anybody reads
    std::unique_ptr<replica_images> images_;
    std::unique_ptr<undo_log> history_;
    std::unique_ptr<undo_log> rollback_;
    std::unique_ptr<packed_store> packed_;
    packed_caches caches_;
    mutable std::mutex past_mutex_; ///< guards past_; below views_mutex_
    std::shared_ptr<const packed_past> past_;
    mutable std::mutex holds_mutex_;
    std::multiset<interval_id> holds_;
    std::multiset<interval_id> moments_; ///< what packing reads; guarded by holds_mutex_
    std::mutex views_mutex_;             ///< publishing, opening and packing exclude each other
    std::vector<std::weak_ptr<point_view>> views_;
};

} // namespace farshore
