#include "replicator/sender/catch_up_scan.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/session/reaction.hpp"

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr std::uint64_t piece_bytes_max = 1ULL << 20; ///< coarsest unit of comparison
constexpr std::size_t pieces_per_request = 16;        ///< whole ones, or as much in smaller ones
constexpr std::size_t ranges_per_request = 128;
/// At least so often a piece is recorded while memory lasts: 5 MiB a second.
constexpr duration record_at_least_every = std::chrono::milliseconds(200);
/// Recorded without a look at the room between: the open interval is at most half full then, and
/// may hold as little as 2 MiB.
constexpr std::uint64_t recorded_bytes_max = limits::MiB / 4;

std::uint64_t units_in(const pending_range &r, std::uint64_t unit) {
    return ceil_div(r.range.length, unit);
}

std::uint64_t finer(std::uint64_t unit) { return unit > region_bytes ? region_bytes : block_bytes; }

digest_function hasher(const dedupe::digest_key &key) {
    auto digester = std::make_shared<dedupe::digester>(key);
    return [digester](bytes_view bytes) { return digester->of(bytes).bytes; };
}

} // namespace

catch_up_scan::catch_up_scan(capture_group &capture, runtime run, scan_options options,
                             send_request send, send_extent_request send_extents, may_record may)
    : capture_(capture), run_(std::move(run)), options_(std::move(options)), send_(std::move(send)),
      send_extents_(std::move(send_extents)), may_record_(std::move(may)) {}

void catch_up_scan::stop() {
    stopped_ = true;
    if (holes_) {
        holes_->stop();
    }
    changed_.notify_all();
}

task<void> catch_up_scan::wait_for_room() {
    while (!stopped_ && !may_record_(run_.time->now() - recorded_ >= record_at_least_every)) {
        co_await changed_.wait_until(*run_.time, run_.time->now() + std::chrono::milliseconds(20));
    }
    recorded_ = run_.time->now();
}

task<bool> catch_up_scan::room_for_piece() {
    co_await wait_for_room();
    co_return !stopped_;
}

result<> catch_up_scan::on_extents(const wire::extent_reply &reply) {
    if (!holes_) {
        return fail_peer(errc::corrupt, "the DR site's extent_reply.id was not asked for");
    }
    return holes_->on_reply(reply);
}

task<void> catch_up_scan::before_data() {
    if (!std::exchange(data_began_, true) && options_.before_data) {
        co_await options_.before_data();
    }
}

task<result<>> catch_up_scan::settle_holes() {
    hole_scan::hooks with;
    with.send = send_extents_;
    with.room = [this] { return room_for_piece(); };
    with.digest = hasher(options_.key);
    with.settled = options_.holes;
    with.before_data = [this] { return before_data(); };
    holes_ = std::make_unique<hole_scan>(capture_, run_, std::move(with), options_.compare);
    auto done = co_await holes_->run();
    holes_.reset();
    co_return done;
}

// The next pieces of the walk; false when the walk is at its end.
bool catch_up_scan::gather(request &out) {
    out.unit = piece_bytes_max;
    while (at_volume_ < capture_.volume_count() && out.ranges.size() < ranges_per_request &&
           out.bytes < pieces_per_request * piece_bytes_max) {
        const auto piece =
            capture_.next_pending(volume_index{at_volume_}, at_offset_, piece_bytes_max);
        if (!piece) {
            break;
        }
        at_volume_ =
            piece->volume.value; // the next volume with something pending may be further on
        at_offset_ = piece->range.end();
        out.ranges.push_back(*piece);
        out.bytes += piece->range.length;
    }
    return !out.ranges.empty();
}

task<result<>> catch_up_scan::ask(request r) {
    wire::digest_request m;
    m.id = next_id_++;
    m.unit = r.unit;
    for (const pending_range &p : r.ranges) {
        m.ranges.push_back({p.volume.value, p.range.offset, p.range.length});
    }
    asked_.emplace(m.id, std::move(r));
    co_return co_await send_(std::move(m));
}

void catch_up_scan::on_reply(wire::digest_reply reply) {
    const auto at = asked_.find(reply.id);
    if (at == asked_.end()) {
        return; // of an earlier scan
    }
    answer a;
    a.asked = std::move(at->second);
    asked_.erase(at);
    std::uint64_t units = 0;
    for (const pending_range &r : a.asked.ranges) {
        units += units_in(r, a.asked.unit);
    }
    a.digests.resize(units);
    std::size_t used = 0; // the lengths were looked at (receiver_claims)
    for (std::uint64_t i = 0; i < units; ++i) {
        if ((std::to_integer<unsigned>(reply.zero_bits[i / 8]) >> (i % 8) & 1U) != 0) {
            continue; // stays the all-zero digest
        }
        std::copy_n(reply.digests.begin() + static_cast<std::ptrdiff_t>(used), 16,
                    a.digests[i].begin());
        used += 16;
    }
    answers_.push_back(std::move(a));
    changed_.notify_all();
}

task<result<>> catch_up_scan::work_off(answer a) {
    request deeper;
    deeper.unit = finer(a.asked.unit);
    std::size_t first = 0;
    for (const pending_range &piece : a.asked.ranges) {
        const auto units = static_cast<std::size_t>(units_in(piece, a.asked.unit));
        std::vector<digest16> peer(a.digests.begin() + static_cast<std::ptrdiff_t>(first),
                                   a.digests.begin() + static_cast<std::ptrdiff_t>(first + units));
        first += units;
        co_await wait_for_room();
        if (stopped_) {
            co_return fail(errc::cancelled, "");
        }
        auto outcome =
            co_await run_on(run_.disk, [this, piece, unit = a.asked.unit, peer = std::move(peer)] {
                auto resolved = capture_.resolve(piece, unit, peer, hasher(options_.key));
                if (resolved && options_.same && resolved->recorded_blocks == 0 &&
                    resolved->differing_units.empty()) {
                    options_.same(piece);
                }
                return resolved;
            });
        if (!outcome) {
            FS_CO_CHECK(co_await record_readable(piece, outcome.error()));
            continue;
        }
        for (const std::uint32_t unit : outcome->differing_units) {
            const std::uint64_t offset = piece.range.offset + unit * a.asked.unit;
            const std::uint64_t end = std::min(offset + a.asked.unit, piece.range.end());
            deeper.ranges.push_back({piece.volume, {offset, end - offset}});
            deeper.bytes += end - offset;
        }
    }
    ahead_bytes_ -= a.asked.bytes;
    // Differing pieces go on one level finer, in requests of bounded size.
    for (std::size_t at = 0; at < deeper.ranges.size(); at += pieces_per_request) {
        request part;
        part.unit = deeper.unit;
        for (std::size_t i = at; i < std::min(at + pieces_per_request, deeper.ranges.size()); ++i) {
            part.ranges.push_back(deeper.ranges[i]);
            part.bytes += deeper.ranges[i].range.length;
        }
        ahead_bytes_ += part.bytes;
        FS_CO_CHECK(co_await ask(std::move(part)));
    }
    co_return result<>{};
}

// Ships every pending region without asking what the DR site has.
task<result<>> catch_up_scan::record_pass() {
    for (request r; gather(r); r = request{}) {
        for (const pending_range &whole : r.ranges) {
            for (std::uint64_t at = whole.range.offset; at < whole.range.end();
                 at += recorded_bytes_max) {
                co_await wait_for_room();
                if (stopped_) {
                    co_return fail(errc::cancelled, "");
                }
                const pending_range piece{
                    whole.volume, {at, std::min(recorded_bytes_max, whole.range.end() - at)}};
                auto outcome = co_await run_on(
                    run_.disk, [this, piece] { return capture_.record_all(piece); });
                if (!outcome) {
                    FS_CO_CHECK(co_await record_readable(piece, outcome.error()));
                }
            }
        }
    }
    co_return result<>{};
}

// A bad place is no reason to stop, let alone to connect again: what can be read goes out.
task<result<>> catch_up_scan::record_readable(pending_range piece, error why) {
    if (reaction_to(why) != reaction::keep_pending) {
        co_return std::unexpected(std::move(why));
    }
    log::warning("{}; the rest of it is shipped", why.text());
    auto outcome =
        co_await run_on(run_.disk, [this, piece] { return capture_.record_readable(piece); });
    co_return outcome ? result<>{} : std::unexpected(outcome.error());
}

task<result<>> catch_up_scan::digest_pass() {
    bool walking = true;
    while (walking || !asked_.empty() || !answers_.empty()) {
        if (stopped_) {
            co_return fail(errc::cancelled, "");
        }
        if (walking && ahead_bytes_ < options_.ahead_bytes_max) {
            request r;
            walking = gather(r);
            if (walking) {
                ahead_bytes_ += r.bytes;
                FS_CO_CHECK(co_await ask(std::move(r)));
            }
            if (answers_.empty()) {
                continue;
            }
        }
        if (answers_.empty()) {
            co_await changed_.wait();
            continue;
        }
        answer a = std::move(answers_.front());
        answers_.pop_front();
        FS_CO_CHECK(co_await work_off(std::move(a)));
    }
    co_return result<>{};
}

task<result<>> catch_up_scan::run() {
    for (;;) {
        FS_CO_CHECK(co_await settle_holes());
        co_await before_data();
        at_volume_ = 0;
        at_offset_ = 0;
        FS_CO_CHECK(options_.compare ? co_await digest_pass() : co_await record_pass());
        if (capture_.pending_bytes() == 0) {
            co_return result<>{};
        }
    }
}

} // namespace farshore
