#pragma once
// Takes durable intervals from the journal into the images: decode, undo, sync, publish, write.
//
// A batch is a run of whole intervals whose new content fits in memory (and whose undo may go out
// together: undo_writer.hpp); they are folded: the images are written once, with each block's last
// version, while the undo of each interval holds what was before it, from memory or the images. An
// interval too large for a batch is taken in steps: part of its changes, their undo as a record of
// their own, written to the images, and so on; the state between is rolled back after a crash like
// any other, and no commit is made inside it.
//
// Order of one step, which is the crash story: (1) undo written to its log (undo_writer.hpp); (2)
// both undo logs synced; (3) undo published to readers; (4) images written. Until (4) the images
// are untouched, so a step that fails before it is forgotten (undo is cut back) and may be tried
// again. A step that fails in (4) for lack of space keeps its content in memory and goes on with
// (4) next time.
//
// Threads: one at a time.

#include "dedupe/codec.hpp"
#include "dedupe/digest.hpp"
#include "replicator/log/interval_log.hpp"
#include "replicator/replica/batch_blocks.hpp"
#include "replicator/replica/loan_store.hpp"
#include "replicator/replica/point_view.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/replica/step_images.hpp"
#include "replicator/replica/undo_writer.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace farshore {

/// What the images are at after an interval.
struct applied_state {
    stream_position position;
    bool consistent = false;
    wall_time time{};
    wall_time arrival{};
    std::shared_ptr<const point_label> label; ///< of a bookmark that became a point; may be null
    bool point = false;
    std::uint64_t damage_count = 0;
    std::uint64_t healed_count = 0;
};

/// An interval that is taken in several steps: how far it got.
struct split_interval {
    frame_cursor cursor;              ///< the frame to go on with
    std::shared_ptr<point_view> base; ///< the state before the interval
    bool damaged = false;
};

class applier {
  public:
    /// `newest_point` {0}: none. `before_write`: called before each write to an image.
    applier(replica_core &core, interval_log &journal, loan_store &loans,
            std::uint64_t batch_bytes_max, applied_state start, interval_id newest_point,
            std::function<result<>()> before_write);

    struct step_outcome {
        std::vector<applied_state> finished; ///< intervals that the images show now, in order
        std::uint64_t bytes_written = 0;
        std::vector<damaged_block> damaged;
        std::string undecoded; ///< why a payload did not decode; empty: all did
        std::vector<verify_answer> verified;
    };
    /// Applies the next batch of intervals not after `durable`. errc::full and ENOSPC: nothing is
    /// lost, try again; other errors are final.
    result<step_outcome> apply(interval_id durable);
    /// True between the steps of one interval, and while a step waits for space: no commit may be
    /// made.
    bool inside_step() const { return write_pending_ || split_.has_value(); }
    /// Wrong blocks that somebody else found.
    void add_damage() { ++state_.damage_count; }
    void set_verify_key(const dedupe::digest_key &key) { verify_key_ = key; }

  private:
    result<bool> take_next(interval_id durable);
    result<> take_interval(const interval_entry &entry);
    result<> take_frames(const interval_entry &entry);
    result<> take_payload(bytes_view payload, const interval_entry &entry);
    result<> take_changes(const std::vector<block_change> &changes, const interval_entry &entry);
    result<> take_zero(const block_change &change, const interval_entry &entry);
    result<> finish_interval(const interval_entry &entry);
    result<> record_old(volume_index volume, std::uint64_t block, std::uint64_t count);
    result<> record_old_images(volume_index volume, std::uint64_t block, std::uint64_t count);
    result<> record_old_data(volume_index volume, std::uint64_t block, std::uint64_t count);
    // applier_verify.cpp
    result<> verify(const interval_entry &entry);
    enum class hole_verdict : std::uint8_t { zero, differs, unseen };
    result<hole_verdict> is_zero_now(volume_index volume, byte_range range, std::uint64_t &budget);
    result<hole_verdict> zero_content(volume_index volume, index_range blocks,
                                      std::uint64_t &budget);
    result<> read_base(volume_index volume, std::uint64_t block, bytes_span out);
    result<> read_over(const overlay *top, volume_index volume, std::uint64_t block,
                       bytes_span out);
    bool step_is_full() const;
    result<> step_inside(const interval_entry &entry);
    result<> write_step();
    result<> write_images();

    replica_core &core_;
    interval_log &journal_;
    loan_store &loans_;
    std::vector<std::uint64_t> source_blocks_; ///< of the volumes, then of the loans
    undo_writer undo_;
    std::function<result<>()> before_write_;
    std::uint64_t batch_bytes_max_;
    std::optional<dedupe::decoder> decoder_;
    stream_id decoder_stream_; ///< whose payloads it was fed
    std::optional<dedupe::digest_key> verify_key_;

    applied_state state_;          ///< after the last interval of the batch
    overlay batch_;                ///< whole intervals, and parts of one that go out with this step
    overlay current_;              ///< of the interval being decoded
    std::vector<buffer> contents_; ///< what the overlays point into
    std::vector<buffer> frame_contents_; ///< of the frame being taken: may outlive a step
    std::uint64_t bytes_ = 0;            ///< memory behind both overlays, about
    std::vector<applied_state> finished_;
    step_images images_;
    std::optional<split_interval> split_;
    bool damaged_ = false;            ///< of the interval being taken: something was wrong
    frame_cursor frame_start_;        ///< of the frame being taken
    undo_writer::places unpublished_; ///< where the undo of the interval, or of its step, begins
    bool write_pending_ = false;
    buffer scratch_;
    step_outcome outcome_;
};

} // namespace farshore
