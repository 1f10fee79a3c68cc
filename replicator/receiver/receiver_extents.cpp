// Where the copy has data: the answers to a sender's questions about runs of holes (extents.hpp).

#include "replicator/base/geometry.hpp"
#include "replicator/receiver/receiver_session.hpp"
#include "replicator/session/extents.hpp"

#include <algorithm>

namespace farshore {
namespace {

/// Bounded by the extents that fit into one message, not by the ranges' lengths.
result<wire::extent_reply> extents_of(replica_group &copy, const wire::extent_request &r) {
    extent_reply_writer out(r.id);
    for (const wire::extent_range &range : r.ranges) {
        if (out.full()) {
            break; // the sender asks again for what has no part
        }
        const volume_index v{static_cast<std::uint16_t>(range.volume)};
        const std::uint64_t end = range.offset + range.length;
        out.begin(range);
        std::uint64_t at = range.offset;
        while (at < end && !out.full()) {
            FS_TRY(data, copy.next_data(v, at));
            if (data.length == 0 || data.offset >= end) {
                at = end;
                break;
            }
            out.data(data);
            at = std::min(end, ceil_div(data.end(), block_bytes) * block_bytes);
        }
        out.end(at);
    }
    return out.take();
}

} // namespace

task<std::shared_ptr<replica_group>> receiver_session::copy_as_durable() {
    const auto copy = group_.copy_;
    if (!copy) {
        co_return nullptr;
    }
    const interval_id until = copy->position().durable.interval;
    while (live() && group_.copy_ == copy && copy->position().applied.interval < until) {
        co_await group_.applied_.wait_until(*run_.time, run_.time->now() + std::chrono::seconds(1));
    }
    co_return copy;
}

// What is in the journal or the undo logs and not in the images is waited for; and the sender asks
// only about regions that no interval of its stream touches, so the answer can't be overtaken.
task<result<wire::extent_reply>> receiver_session::look_for_data(wire::extent_request r) {
    const auto copy = co_await copy_as_durable();
    if (!copy) {
        co_return fail(errc::closed, "the copy is being opened");
    }
    std::vector<std::uint64_t> sizes;
    for (const replica_volume &v : copy->volumes()) {
        sizes.push_back(v.size);
    }
    FS_CO_CHECK(check_extent_request(r, sizes));
    auto found =
        co_await run_on(run_.disk, [copy, r = std::move(r)] { return extents_of(*copy, r); });
    co_return blame(fault::storage, std::move(found));
}

task<result<>> receiver_session::answer(wire::extent_request r) {
    FS_CO_TRY(reply, co_await look_for_data(std::move(r)));
    co_return co_await send(std::move(reply));
}

} // namespace farshore
