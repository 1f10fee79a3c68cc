#include "replicator/sender/stream_ledger.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <numeric>

namespace farshore {

void stream_ledger::prepare(stream_id stream, stream_position theirs) {
    REPL_ASSERT(!recorded_ && stream.value != 0);
    durable_ = theirs;
    stream_ = stream;
}

void stream_ledger::record(interval_id first) {
    REPL_ASSERT(!recorded_ && first > durable_.interval && first > last_cut_.id);
    first_ = first;
    recorded_ = true;
    last_cut_ = {interval_id{first.value - 1}, last_cut_.time};
}

void stream_ledger::end() {
    recorded_ = false;
    ++epoch_;
    held_.clear();
    durable_point_ = {};
    acknowledged_in_stream_ = false;
}

void stream_ledger::cut(barrier_info barrier, bool consistent, std::uint64_t written_bytes) {
    REPL_ASSERT(recorded_ && barrier.id == next(last_cut_.id));
    last_cut_ = barrier;
    held_.push_back({barrier, written_bytes, consistent});
}

newly_durable stream_ledger::take(stream_position durable, stream_position applied,
                                  interval_id point) {
    newly_durable told;
    if (recorded_ && durable.stream == stream_ && durable.interval > durable_.interval) {
        told.advanced = true;
        acknowledged_in_stream_ = true;
        while (!held_.empty() && held_.front().barrier.id <= durable.interval) {
            durable_barrier_ = held_.front().barrier;
            if (held_.front().consistent) {
                if (!has_point()) {
                    told.first_point = durable_barrier_;
                }
                told.point = durable_barrier_;
                durable_point_ = durable_barrier_.id;
                durable_point_time_ = durable_barrier_.time;
            }
            held_.pop_front();
        }
    }
    durable_ = durable;
    applied_ = applied;
    applied_point_ = point;
    return told;
}

bool stream_ledger::point_in_flight() const {
    return std::ranges::any_of(held_, &held_barrier::consistent);
}

interval_id stream_ledger::first_held() const {
    return held_.empty() ? next(last_cut_.id) : held_.front().barrier.id;
}

std::uint64_t stream_ledger::bytes_not_durable() const {
    return std::accumulate(
        held_.begin(), held_.end(), std::uint64_t{0},
        [](std::uint64_t sum, const held_barrier &b) { return sum + b.written_bytes; });
}

} // namespace farshore
