#include "replicator/sender/stream_ledger.hpp"

#include "replicator/base/assert.hpp"

namespace farshore {

void stream_ledger::prepare(stream_id stream) {
    REPL_ASSERT(!recorded_ && stream.value != 0);
    stream_ = stream;
}

void stream_ledger::record(interval_id first) {
    REPL_ASSERT(!recorded_ && first > last_cut_.id);
    first_ = first;
    recorded_ = true;
    last_cut_ = {interval_id{first.value - 1}, last_cut_.time};
}

void stream_ledger::end() {
    recorded_ = false;
    ++epoch_;
    held_.clear();
}

void stream_ledger::cut(barrier_info barrier, bool consistent, std::uint64_t written_bytes) {
    REPL_ASSERT(recorded_ && barrier.id == next(last_cut_.id));
    last_cut_ = barrier;
    held_.push_back({barrier, written_bytes, consistent});
}

void stream_ledger::settled_through(interval_id barrier) {
    while (!held_.empty() && held_.front().barrier.id <= barrier) {
        held_.pop_front();
    }
}

interval_id stream_ledger::first_held() const {
    return held_.empty() ? next(last_cut_.id) : held_.front().barrier.id;
}

} // namespace farshore
