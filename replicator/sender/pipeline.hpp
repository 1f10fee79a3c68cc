#pragma once
// The stream of a group at the primary, whoever receives it: capture, the queue of closed
// intervals, the encoder, the spool. The one place that cuts barriers, and the one that loses the
// order.
//
//   capture (open interval) -> cut() -> closed -> encode -> spool -> each site_link sends from there
//
// The order of writes is either unbroken (a stream: capture records, and every interval that a DR
// site lacks is held) or lost (tracking). begin_recording() and end_stream() are the only ways from
// one to the other; lose_order() is end_stream() with words for the operator.
//
// What it asks of the rest of its group stands in pipeline_host. Thread: home; capture works on
// clients' threads beside it and only calls for attention.

#include "dedupe/codec.hpp"
#include "replicator/base/async.hpp"
#include "replicator/capture/capture_group.hpp"
#include "replicator/log/spool.hpp"
#include "replicator/sender/borrower.hpp"
#include "replicator/sender/encode_interval.hpp"
#include "replicator/sender/group_share.hpp"
#include "replicator/sender/known_places.hpp"
#include "replicator/sender/level_policy.hpp"
#include "replicator/sender/stream_ledger.hpp"
#include "replicator/session/group_memory.hpp"

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace farshore {

/// What the pipeline needs to know of its group, and what it tells it. Home thread; none of it may
/// wait.
class pipeline_host {
  public:
    /// The DR site has a point of the stream: no catch-up is under way.
    virtual bool in_sync() const = 0;
    /// It has none, and none is on its way: a barrier makes one, though nothing was written.
    virtual bool wants_point() const = 0;
    /// Somebody waits for a barrier to be at the DR site.
    virtual bool awaited() const = 0;
    virtual bool paused() const = 0;

    virtual void on_cut(const interval &closed) = 0;
    /// Something that is waited for may have come: a stage has room, an interval was encoded.
    virtual void moved() = 0;
    /// An interval is in the spool, or what was awaited will not come.
    virtual void spooled() = 0;
    /// Clients wrote more than memory holds; order_lost() follows.
    virtual void writers_outran() = 0;
    /// The stream is over, nothing of it is held.
    virtual void stream_ended() = 0;
    /// It ended by lose_order(): a catch-up has to begin. `why` may be empty: it was asked for.
    virtual void order_lost(const std::string &why) = 0;

  protected:
    ~pipeline_host() = default;
};

struct pipeline_options {
    std::string group; ///< for the log
    duration interval{};
    bool verify_encoding = false;
    history_memory history{};
    group_share *share = nullptr; ///< of memory for what the stages hold; outlives them
};

class pipeline {
  public:
    pipeline(pipeline_options options, runtime run, std::unique_ptr<capture_group> capture,
             std::unique_ptr<spool> held, borrower &loans, pipeline_host &host);
    pipeline(const pipeline &) = delete;
    pipeline &operator=(const pipeline &) = delete;

    /// Begins the stages.
    void start();
    /// They end; what is under way is awaited.
    void end();
    task<void> join() { return tasks_.join(); }

    capture_group &capture() { return *capture_; }
    const capture_group &capture() const { return *capture_; }
    spool &held() { return *spool_; }
    const spool &held() const { return *spool_; }
    const stream_ledger &ledger() const { return ledger_; }
    known_places &known() { return known_; }

    /// A barrier across all volumes. Nothing when the order is lost or, unless `even_if_empty`,
    /// nothing was written. `requested`: whoever asked is not made to wait for the next tick.
    struct cut_outcome {
        barrier_info barrier;
        bool consistent = false;
    };
    std::optional<cut_outcome> cut(bool even_if_empty, bool requested);
    /// A barrier that gets a name. If it is consistent, it and what follows are kept back from the
    /// encoder until label() says what it is: whoever cuts it calls that, soon, whatever happens.
    std::optional<cut_outcome> cut_bookmark();
    /// Of a stream that ended: nothing.
    void label(interval_id barrier, point_label label);
    /// A DR site that lacks something of the stream may get one.
    bool holds_labels() const {
        return ledger_.recorded() && labels_.newest >= ledger_.first_held();
    }
    /// Few enough intervals wait for the encoder.
    bool may_cut() const { return closed_.size() < limits::interval_queue_max; }
    /// The next cut need not wait for its tick.
    void cut_soon();

    /// A stream in three steps, between which its begin is told: the name, which is durable from
    /// here on; then intervals. The order was lost before.
    task<result<>> prepare_stream(stream_id stream, interval_id first, stream_position theirs,
                                  const wire::id16 &receiver);
    task<void> begin_recording(interval_id first, std::uint64_t heals);
    /// Every DR site has them.
    void settled_through(interval_id barrier);
    /// From an unbroken stream to tracking. The dirty map has every block of what is dropped.
    void end_stream();
    void lose_order(const std::string &why);

    // For memory_tender.
    memory_claim claim_memory();
    std::uint64_t memory_grant() const { return options_.share->grant(); }
    void take_memory(std::uint64_t grant);

    /// For a piece of a catch-up. `little`: it has waited long, and only memory counts.
    bool has_room(bool little) const;
    /// Work for a stage: hints to learn, room that came.
    void kick() { work_.notify_all(); }

    /// The newest barrier, when nothing was written since that it does not hold; else 0.
    interval_id covered() const;
    /// When the oldest write was made that is held nowhere else.
    std::optional<time_point> oldest_unsafe_write() const;
    /// Since the start.
    struct totals {
        std::uint64_t folded_bytes = 0;
        std::uint64_t encoded_bytes = 0;
        std::uint64_t encoder_faults = 0; ///< intervals that its self-check kept back
    };
    const totals &counts() const { return totals_; }

  private:
    task<void> close_loop();
    task<void> encode_loop();
    task<void> encode_next();
    task<std::optional<point_label>> label_of(interval_id id, std::uint64_t epoch);
    task<void> spool_encoded(std::shared_ptr<result<encoded_interval>> encoded,
                             std::uint64_t epoch);
    encoder_load load_of(const interval &taken) const;
    std::shared_ptr<dedupe::encoder> make_encoder() const;
    void learn(dedupe::encoder &encoder);
    std::uint64_t closed_bytes() const;
    /// What of closed_bytes_max may wait when another interval closes; the rest is for the
    /// encoder's output.
    std::uint64_t closed_room() const { return options_.share->stages().closed_bytes_max / 2; }
    void watch_capture();
    void tidy_soon();
    task<void> tidy_spool();

    pipeline_options options_;
    runtime run_;
    borrower &loans_;
    pipeline_host &host_;
    std::unique_ptr<capture_group> capture_;
    std::unique_ptr<spool> spool_;
    stream_ledger ledger_;
    task_group tasks_;
    condition work_; ///< a stage has something to do
    bool ending_ = false;

    std::deque<std::unique_ptr<interval>> closed_;
    struct {
        /// Of bookmarks that were cut and not encoded; nothing: it is not said yet.
        std::map<interval_id, std::optional<point_label>> waiting;
        interval_id newest; ///< over all streams
    } labels_;
    struct {
        bool soon = false;
        time_point next{};
    } cut_due_;

    /// Of the interval being encoded.
    struct in_hand {
        std::uint64_t bytes = 0;
        std::optional<time_point> since; ///< its first write
    };
    in_hand encoding_;
    std::shared_ptr<dedupe::encoder> encoder_; ///< shared with the encoding under way
    known_places known_;                       ///< for its index
    level_policy level_;
    busy_share busy_;
    stream_id encoded_stream_; ///< of the interval encoded last
    std::uint64_t heals_ = 0;  ///< damage that this stream repairs, by the DR site's count
    bool tidying_ = false;

    totals totals_;

    // Capture calls from clients' threads, also after the end.
    std::shared_ptr<std::atomic<bool>> attention_posted_ =
        std::make_shared<std::atomic<bool>>(false);
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace farshore
