// Life of the stream: cut, begin, end, lose. The encoder's stage is in pipeline_encode.cpp.

#include "replicator/sender/pipeline.hpp"

#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {

pipeline::pipeline(pipeline_options options, runtime run, std::unique_ptr<capture_group> capture,
                   std::unique_ptr<spool> held, borrower &loans, pipeline_host &host)
    : options_(std::move(options)), run_(std::move(run)), loans_(loans), host_(host),
      capture_(std::move(capture)), spool_(std::move(held)), tasks_(run_.home) {
    watch_capture();
}

void pipeline::watch_capture() {
    capture_->set_attention(
        [posted = attention_posted_, home = run_.home, alive = std::weak_ptr(alive_), this] {
            if (posted->exchange(true)) {
                return;
            }
            asio::post(home, [posted, alive, this] {
                posted->store(false);
                if (!alive.expired()) {
                    cut_soon();
                }
            });
        });
}

void pipeline::start() {
    tasks_.spawn(close_loop());
    tasks_.spawn(encode_loop());
}

void pipeline::end() {
    ending_ = true;
    alive_.reset();
    work_.notify_all();
}

void pipeline::cut_soon() {
    cut_due_.soon = true;
    work_.notify_all();
}

std::optional<pipeline::cut_outcome> pipeline::cut(bool even_if_empty, bool requested) {
    auto closed = capture_->close_interval(run_.time->wall(), even_if_empty, requested);
    if (!closed) {
        return std::nullopt;
    }
    const bool consistent = closed->commit().consistent;
    ledger_.cut({closed->position().interval, closed->commit().time}, consistent,
                closed->written_bytes());
    host_.on_cut(*closed);
    closed_.push_back(std::move(closed));
    options_.share->note_closed(closed_bytes());
    work_.notify_all();
    host_.moved();
    return cut_outcome{ledger_.last_cut(), consistent};
}

// A write is in the open interval before it is answered. What is only marked dirty (tracking,
// regions that a catch-up has yet to reach) makes no barrier consistent, so no point either.
interval_id pipeline::covered() const {
    const bool all = ledger_.recorded() && capture_->mode() == capture_mode::recording &&
                     !capture_->counts().open_since;
    return all ? ledger_.last_cut().id : interval_id{};
}

std::optional<pipeline::cut_outcome> pipeline::cut_bookmark() {
    const auto made = cut(true, true);
    if (made && made->consistent) {
        labels_.waiting.emplace(made->barrier.id, std::nullopt);
        labels_.newest = made->barrier.id;
    }
    return made;
}

void pipeline::label(interval_id barrier, point_label label) {
    if (const auto at = labels_.waiting.find(barrier); at != labels_.waiting.end()) {
        at->second = std::move(label);
        work_.notify_all();
    }
}

std::uint64_t pipeline::closed_bytes() const {
    std::uint64_t sum = encoding_.bytes;
    for (const auto &interval : closed_) {
        sum += interval->memory_bytes();
    }
    return sum;
}

task<void> pipeline::close_loop() {
    constexpr duration look_for_room_every = std::chrono::milliseconds(20);
    while (!ending_) {
        if (ledger_.recorded() && capture_->mode() == capture_mode::tracking) {
            host_.writers_outran();
            lose_order(capture_->fallback_reason());
        }
        const time_point now = run_.time->now();
        const bool due = cut_due_.soon || now >= cut_due_.next;
        const bool room = closed_bytes() < closed_room() && may_cut();
        if (due && room) {
            if (ledger_.recorded()) {
                // The end of a catch-up is a barrier even when nothing was written: it makes the
                // point.
                cut(host_.wants_point() && capture_->pending_bytes() == 0, false);
            }
            cut_due_.soon = false;
            cut_due_.next = now + options_.interval;
        }
        co_await work_.wait_until(*run_.time,
                                  due && !room ? now + look_for_room_every : cut_due_.next);
    }
}

bool pipeline::has_room(bool little) const {
    if (host_.paused()) {
        return false;
    }
    const stage_memory most = options_.share->stages();
    const std::uint64_t open = capture_->counts().open_bytes;
    if (little && open < most.open_bytes_max / 4) {
        return true;
    }
    return closed_bytes() < most.closed_bytes_max / 4 && open < most.open_bytes_max / 2 &&
           spool_->use().bytes < most.spool_bytes_max * 3 / 4;
}

memory_claim pipeline::claim_memory() {
    return options_.share->claim(run_.time->now(), *capture_, closed_bytes(), *spool_);
}

void pipeline::take_memory(std::uint64_t grant) {
    options_.share->settle(grant, *capture_, *spool_);
    tidy_soon();
}

task<result<>> pipeline::prepare_stream(stream_id stream, interval_id first, stream_position theirs,
                                        const wire::id16 &receiver) {
    FS_CO_CHECK(co_await run_on(run_.disk, [this, stream, first, theirs, receiver] {
        return capture_->prepare_stream(stream, first, theirs, receiver);
    }));
    ledger_.prepare(stream);
    co_return result<>{};
}

task<void> pipeline::begin_recording(interval_id first, std::uint64_t heals) {
    co_await run_on(run_.disk, [this, stream = ledger_.stream(), first] {
        capture_->begin_recording(stream, first);
        return true;
    });
    heals_ = heals;
    if (!encoder_) {
        encoder_ = make_encoder();
    }
    ledger_.record(first);
    cut_soon();
}

void pipeline::settled_through(interval_id barrier) {
    ledger_.settled_through(barrier);
    spool_->drop_through(barrier);
    tidy_soon();
    work_.notify_all();
}

void pipeline::end_stream() {
    if (!ledger_.recorded()) {
        return;
    }
    capture_->begin_tracking();
    ledger_.end();
    closed_.clear();
    labels_.waiting.clear();
    work_.notify_all();
    spool_->clear();
    tidy_soon();
    host_.stream_ended();
}

void pipeline::lose_order(const std::string &why) {
    if (!ledger_.recorded()) {
        return;
    }
    end_stream();
    if (!why.empty()) {
        log::warning("group {}: the order of writes is no longer kept: {}. A catch-up follows when "
                     "the DR site can be reached; its newest point stays good until then",
                     options_.group, why);
    }
    host_.order_lost(why);
}

// What was dropped leaves the disk off home: a slow spool disk must not hold up the lines of other
// groups.
void pipeline::tidy_soon() {
    if (spool_->untidy() && !std::exchange(tidying_, true)) {
        tasks_.spawn(tidy_spool());
    }
}

task<void> pipeline::tidy_spool() {
    while (spool_->untidy()) {
        co_await run_on(run_.disk, [this] {
            spool_->tidy();
            return true;
        });
    }
    tidying_ = false;
}

std::optional<time_point> pipeline::oldest_unsafe_write() const {
    std::optional<time_point> oldest;
    const auto consider = [&oldest](std::optional<time_point> t) {
        if (t && (!oldest || *t < *oldest)) {
            oldest = t;
        }
    };
    consider(spool_->use().oldest_write);
    consider(encoding_.since);
    for (const auto &interval : closed_) {
        consider(interval->first_write());
    }
    consider(capture_->counts().open_since);
    return oldest;
}

} // namespace farshore
