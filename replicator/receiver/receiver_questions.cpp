// A sender's questions about the copy: digests and extents for the catch-up scan, and what changed
// after a barrier, for one that may have been put back to an older state.

#include "dedupe/digest.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_session.hpp"
#include "replicator/session/extents.hpp"
#include "replicator/session/peer_claims.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr std::size_t questions_max = 256;

/// Of what the images show now.
result<wire::digest_reply> digests_of(replica_group &copy, const wire::digest_request &r,
                                      const wire::key32 &key) {
    wire::digest_reply out;
    out.id = r.id;
    out.zero_bits.resize(ceil_div(units_of(r), 8));
    dedupe::digester digester(key);
    buffer content(limits::MiB);
    std::uint64_t unit = 0;
    for (const wire::digest_range &d : r.ranges) { // in their volumes (check_digest_request)
        const volume_index v{static_cast<std::uint16_t>(d.volume)};
        FS_TRY(data, copy.next_data(v, d.offset));
        const bool hole = data.length == 0 || data.offset >= d.offset + d.length;
        if (!hole) {
            FS_CHECK(copy.read_replica(v, {d.offset, d.length}, content.span().first(d.length)));
        }
        for (std::uint64_t at = 0; at < d.length; at += r.unit, ++unit) {
            const std::uint64_t length = std::min(r.unit, d.length - at);
            const dedupe::range_digest g =
                hole ? dedupe::range_digest{} : digester.of(content.view().subspan(at, length));
            if (g.is_zero_content()) {
                out.zero_bits[unit / 8] |= std::byte{static_cast<std::uint8_t>(1U << (unit % 8))};
            } else {
                out.digests.insert(out.digests.end(), g.bytes.begin(), g.bytes.end());
            }
        }
    }
    return out;
}

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

std::vector<std::uint64_t> receiver_session::volume_sizes() const {
    std::vector<std::uint64_t> sizes;
    for (const replica_volume &v : over_.copy->volumes()) {
        sizes.push_back(v.size);
    }
    return sizes;
}

result<> receiver_session::take(wire::digest_request r) {
    FS_CHECK(check_digest_request(r, volume_sizes()));
    if (questions_.size() >= questions_max) {
        return fail_peer(errc::limit, fmt::format("more than {} digest requests without an answer",
                                                  questions_max));
    }
    questions_.push_back(std::move(r));
    questions_wanted_.notify_all();
    return {};
}

result<> receiver_session::take(wire::extent_request r) {
    if (questions_.size() >= questions_max) {
        return fail_peer(errc::limit, "too many questions about the copy at a time");
    }
    questions_.push_back(std::move(r));
    questions_wanted_.notify_all();
    return {};
}

result<> receiver_session::take(wire::changed_request r) {
    const interval_id durable = over_.copy->position().durable.interval;
    if (r.after.interval > durable) {
        return fail_peer(errc::corrupt,
                         fmt::format("changed_request.after is interval {}; {} is durable here",
                                     r.after.interval.value, durable.value));
    }
    if (std::exchange(telling_, true)) {
        return fail_peer(errc::limit, "asked for what changed while that is being told");
    }
    tasks_.spawn(tell_changed(r));
    return {};
}

task<void> receiver_session::copy_as_durable() {
    const auto copy = over_.copy;
    const interval_id until = copy->position().durable.interval;
    while (live() && copy->position().applied.interval < until) {
        co_await host_.wait_applied(run_.time->now() + std::chrono::seconds(1));
    }
}

// ---- digests and extents
// -----------------------------------------------------------------------
//
// Answers are of the copy with every interval applied that was durable when the request came: what
// is in the journal or the undo logs and not in the images is waited for. The sender asks only
// about regions that no interval of its stream touches, so the answer can't be overtaken.

task<result<>> receiver_session::answer(wire::digest_request r) {
    co_await copy_as_durable();
    auto reply =
        co_await run_on(run_.disk, [copy = over_.copy, r = std::move(r), key = over_.digest_key] {
            return digests_of(*copy, r, key);
        });
    FS_CO_TRY(found, blame(fault::storage, std::move(reply)));
    co_return co_await send(std::move(found));
}

task<result<>> receiver_session::answer(wire::extent_request r) {
    co_await copy_as_durable();
    FS_CO_CHECK(check_extent_request(r, volume_sizes()));
    auto reply = co_await run_on(
        run_.disk, [copy = over_.copy, r = std::move(r)] { return extents_of(*copy, r); });
    FS_CO_TRY(found, blame(fault::storage, std::move(reply)));
    co_return co_await send(std::move(found));
}

task<void> receiver_session::question_loop() {
    while (live()) {
        if (questions_.empty()) {
            co_await questions_wanted_.wait();
            continue;
        }
        auto question = std::move(questions_.front());
        questions_.pop_front();
        const bool digests = std::holds_alternative<wire::digest_request>(question);
        const auto done =
            digests ? co_await answer(std::get<wire::digest_request>(std::move(question)))
                    : co_await answer(std::get<wire::extent_request>(std::move(question)));
        if (!done && live()) {
            react(done.error());
        }
        if (!done) {
            break;
        }
    }
}

// ---- what changed
// -----------------------------------------------------------------------------------

// From undo alone: what is durable is applied first, and the sender begins no stream before it has
// the answer.
task<void> receiver_session::tell_changed(wire::changed_request r) {
    const auto copy = over_.copy;
    const interval_id until = copy->position().durable.interval;
    co_await copy_as_durable();
    auto found =
        co_await run_on(run_.disk, [copy, after = r.after] { return copy->changed_since(after); });
    std::vector<region_run> runs;
    if (found) {
        runs = std::move(*found);
        log::info(
            "group {}: the sender remembers barrier {} of {}; {} run(s) of regions changed since",
            host_.name(), r.after.interval.value, until.value, runs.size());
    } else {
        log::warning("group {}: the sender remembers barrier {} of {}, and the history does not "
                     "reach back to it",
                     host_.name(), r.after.interval.value, until.value);
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
