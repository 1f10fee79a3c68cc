#include "replicator/sender/hole_scan.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/session/reaction.hpp"

#include <algorithm>

namespace farshore {
namespace {

constexpr std::size_t requests_ahead = 8;
/// Shorter runs are left to the digests: a question about a region costs what its digest does.
constexpr std::uint64_t run_bytes_min = 2 * region_bytes;
/// Recorded whole into an open interval that is at most half full and may hold 2 MiB.
constexpr std::uint64_t piece_bytes_max = limits::MiB / 4;
/// Beyond it no more is asked until some are worked off: 2 MiB, and what is on the way.
constexpr std::size_t holes_held_max = 1 << 17;

} // namespace

hole_scan::hole_scan(capture_group &capture, runtime run, hooks with, bool record)
    : capture_(capture), run_(std::move(run)), with_(std::move(with)), record_(record) {}

void hole_scan::stop() {
    stopped_ = true;
    changed_.notify_all();
}

std::vector<pending_range> hole_scan::gather() {
    std::vector<pending_range> out;
    while (!again_.empty() && out.size() < wire::extent_ranges_max) {
        out.push_back(again_.front());
        again_.pop_front();
    }
    while (at_volume_ < capture_.volume_count() && out.size() < wire::extent_ranges_max) {
        const auto run =
            capture_.next_pending(volume_index{at_volume_}, at_offset_, limits::volume_bytes_max);
        if (!run) {
            at_volume_ = static_cast<std::uint16_t>(capture_.volume_count());
            break;
        }
        at_volume_ = run->volume.value;
        at_offset_ = run->range.end();
        if (run->range.length >= run_bytes_min) {
            out.push_back(*run);
        }
    }
    return out;
}

task<result<>> hole_scan::ask(std::vector<pending_range> ranges) {
    wire::extent_request m = extent_request_for(next_id_++, ranges);
    asked_.emplace(m.id, std::move(ranges));
    co_return co_await with_.send(std::move(m));
}

result<> hole_scan::on_reply(const wire::extent_reply &reply) {
    const auto at = asked_.find(reply.id);
    if (at == asked_.end()) {
        return fail_peer(errc::corrupt, "the DR site's extent_reply.id was not asked for");
    }
    FS_TRY(answers, check_extent_reply(at->second, reply));
    asked_.erase(at);
    for (extent_answer &a : answers) {
        if (!a.whole()) {
            again_.push_back(a.rest());
        }
        if (!a.holes.empty()) {
            holes_held_ += a.holes.size();
            answers_.push_back(std::move(a));
        }
    }
    changed_.notify_all();
    return {};
}

/// From place `from` in hole `first` on, until the volume has data in one.
result<hole_scan::step> hole_scan::settle(capture_group &capture, const extent_answer &answer,
                                          std::size_t first, std::uint64_t from) {
    step s;
    for (s.hole = first; s.hole < answer.holes.size(); ++s.hole) {
        const byte_range hole = answer.holes[s.hole];
        const std::uint64_t begin = std::max(hole.offset, from);
        if (begin >= hole.end()) {
            continue;
        }
        FS_TRY(outcome, capture.settle_holes({answer.asked.volume, {begin, hole.end() - begin}}));
        s.settled += outcome.settled_regions;
        if (outcome.data.length != 0) {
            s.data = {answer.asked.volume, outcome.data};
            return s;
        }
    }
    s.data.range.length = 0;
    return s;
}

task<result<>> hole_scan::work_off(extent_answer answer) {
    std::size_t hole = 0;
    std::uint64_t from = 0;
    for (;;) {
        if (stopped_) {
            co_return fail(errc::cancelled, "");
        }
        const auto done = co_await run_on(run_.disk, [this, &answer, hole, from] {
            return settle(capture_, answer, hole, from);
        });
        if (!done) {
            co_return std::unexpected(done.error());
        }
        if (with_.settled) {
            with_.settled(done->settled * region_bytes);
        }
        if (done->data.range.length == 0) {
            co_return result<>{};
        }
        if (record_) {
            FS_CO_CHECK(co_await record(done->data.volume, done->data.range));
        }
        hole = done->hole;
        from = done->data.range.end();
    }
}

// The copy has zeroes there: what is not zero is recorded.
task<result<>> hole_scan::record(volume_index v, byte_range data) {
    co_await with_.before_data();
    for (std::uint64_t at = data.offset; at < data.end();) {
        const std::uint64_t end =
            std::min(data.end(), (at / piece_bytes_max + 1) * piece_bytes_max);
        if (!co_await with_.room()) {
            co_return fail(errc::cancelled, "");
        }
        const pending_range piece{v, {at, end - at}};
        auto outcome = co_await run_on(run_.disk, [this, piece] {
            return capture_.resolve(piece, piece_bytes_max, {digest16{}}, with_.digest);
        });
        if (!outcome && reaction_to(outcome.error()) == reaction::keep_pending) {
            log::warning("{}; the rest of it is shipped", outcome.error().text());
            outcome = co_await run_on(run_.disk,
                                      [this, piece] { return capture_.record_readable(piece); });
        }
        if (!outcome) {
            co_return std::unexpected(outcome.error());
        }
        at = end;
    }
    co_return result<>{};
}

task<result<>> hole_scan::run() {
    bool walking = true;
    while (walking || !again_.empty() || !asked_.empty() || !answers_.empty()) {
        if (stopped_) {
            co_return fail(errc::cancelled, "");
        }
        if ((walking || !again_.empty()) && asked_.size() < requests_ahead &&
            holes_held_ < holes_held_max) {
            std::vector<pending_range> ranges = gather();
            walking = at_volume_ < capture_.volume_count();
            if (!ranges.empty()) {
                FS_CO_CHECK(co_await ask(std::move(ranges)));
            }
            if (answers_.empty()) {
                continue;
            }
        }
        if (answers_.empty()) {
            co_await changed_.wait();
            continue;
        }
        extent_answer answer = std::move(answers_.front());
        answers_.pop_front();
        holes_held_ -= answer.holes.size();
        FS_CO_CHECK(co_await work_off(std::move(answer)));
    }
    co_return result<>{};
}

} // namespace farshore
