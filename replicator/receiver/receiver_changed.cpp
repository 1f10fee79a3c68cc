// What the copy changed after a barrier: for a sender that may have been put back to an older
// state.

#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_session.hpp"

#include <algorithm>

namespace farshore {

// From undo alone: what is durable is applied first, and the sender begins no stream before it has
// the answer.
task<void> receiver_session::tell_changed(wire::changed_request r) {
    const auto copy = group_.copy_;
    if (!copy) {
        telling_ = false;
        close("the copy is being opened");
        co_return;
    }
    const interval_id until = copy->position().durable.interval;
    while (live() && group_.copy_ == copy && copy->position().applied.interval < until) {
        co_await group_.applied_.wait_until(*run_.time, run_.time->now() + std::chrono::seconds(1));
    }
    auto found =
        co_await run_on(run_.disk, [copy, after = r.after] { return copy->changed_since(after); });
    std::vector<region_run> runs;
    if (found) {
        runs = std::move(*found);
        log::info(
            "group {}: the sender remembers barrier {} of {}; {} run(s) of regions changed since",
            group_.name(), r.after.interval.value, until.value, runs.size());
    } else {
        log::warning("group {}: the sender remembers barrier {} of {}, and the history does not "
                     "reach back to it",
                     group_.name(), r.after.interval.value, until.value);
    }
    std::size_t at = 0;
    bool more = true;
    while (more && live()) {
        wire::changed_reply reply;
        reply.known = found.has_value();
        for (; at < runs.size() && reply.runs.size() < limits::changed_runs_per_message_max; ++at) {
            reply.runs.push_back({runs[at].volume.value, runs[at].first, runs[at].count});
        }
        more = reply.more = at < runs.size();
        if (!co_await send(std::move(reply))) {
            break;
        }
    }
    telling_ = false;
}

} // namespace farshore
