// Status and the operator's commands of a group at the primary.

#include "replicator/base/log.hpp"
#include "replicator/sender/sender_group.hpp"
#include "replicator/sender/sender_state.hpp"
#include "replicator/sender/sender_verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace farshore {
namespace {
constexpr std::size_t unreadable_shown_max = 16; ///< ranges of a volume

std::string unreadable_text(const std::vector<volume_status> &volumes) {
    std::string text;
    for (const volume_status &v : volumes) {
        if (v.unreadable_bytes > 0) {
            text += fmt::format("{}volume {} can't be read at offset {} ({} bytes in all): points "
                                "hold older content there until "
                                "it is overwritten or can be read",
                                text.empty() ? "" : "; ", v.name, v.unreadable.front().offset,
                                v.unreadable_bytes);
        }
    }
    return text;
}
} // namespace

// ---- status
// ----------------------------------------------------------------------------------------

std::optional<time_point> sender_group::oldest_unsafe_write() const {
    std::optional<time_point> oldest;
    const auto consider = [&oldest](std::optional<time_point> t) {
        if (t && (!oldest || *t < *oldest)) {
            oldest = t;
        }
    };
    consider(spool_->use().oldest_write);
    consider(encoding_since_);
    for (const auto &interval : closed_) {
        consider(interval->first_write());
    }
    consider(capture_->counts().open_since);
    return oldest;
}

// Bytes that clients wrote and that the DR site does not durably hold. Nothing else is in it:
// neither what memory or the spool take, nor what goes over the line. What was written over several
// times counts each time, up to the volumes' size. Without an unbroken order only regions are
// known: all of each that may lack something.
std::uint64_t sender_group::bytes_at_risk() const {
    std::uint64_t sum = 0;
    if (order() != stream_order::kept) {
        for (std::size_t i = 0; i < capture_->volume_count(); ++i) {
            sum += capture_->dirty_bytes(volume_index{static_cast<std::uint16_t>(i)});
        }
        return sum;
    }
    sum = ledger_.bytes_not_durable();
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < capture_->volume_count(); ++i) {
        size += capture_->volume_size(volume_index{static_cast<std::uint16_t>(i)});
    }
    return std::min(sum + capture_->counts().open_written_bytes, size);
}

sender_group_status sender_group::status() const {
    sender_group_status s;
    s.name = name();
    s.peer = options_.config.peer.empty() && peer_ ? peer_->address : options_.config.peer;
    s.connected = session_up_;
    const capture_counts counts = capture_->counts();
    const spool_use held = spool_->use();
    const stream_order order = this->order();

    sender_state_facts f;
    f.failed = disturbed_.has_value();
    f.paired = peer_.has_value();
    f.paused = settings_->paused;
    f.recording = order != stream_order::lost;
    f.connected = session_up_;
    f.ever_consistent = settings_->ever_consistent;
    f.consistent = consistent();
    f.backlog_on_disk = held.bytes > held.memory_bytes;
    s.state = state_of(f);

    if (order == stream_order::kept) {
        const auto oldest = oldest_unsafe_write();
        s.lag_seconds = oldest ? std::max(0.0, seconds_of(run_.time->now() - *oldest)) : 0;
    } else {
        // Order is lost or not yet made: the DR site is as old as its newest point.
        const wall_time since = ledger_.durable_point_time().value_or(started_);
        s.lag_seconds = std::max(0.0, seconds_of(run_.time->wall() - since));
    }
    s.lag_bytes = bytes_at_risk();
    s.lag_intervals = ledger_.not_durable() + (counts.open_since ? 1 : 0);
    if (ledger_.last_cut().time != wall_time{}) {
        s.last_barrier = ledger_.last_cut();
    }
    if (ledger_.durable_barrier().id.value != 0) {
        s.durable_barrier = ledger_.durable_barrier();
    }
    s.bytes_written = counts.written_bytes;
    s.bytes_folded = folded_bytes_;
    s.bytes_encoded = encoded_bytes_;
    s.encoder_faults = encoder_faults_;
    s.bytes_wire = wire_bytes_before_ + (session_ ? session_->wire_bytes() : 0);
    if (order == stream_order::making) {
        const std::uint64_t pending = capture_->pending_bytes();
        s.sync_total_bytes = sync_total_;
        s.sync_done_bytes = sync_total_ - std::min(sync_total_, pending);
        const double seconds = seconds_of(run_.time->now() - sync_began_);
        if (seconds > 0.5 && s.sync_done_bytes > 0) {
            s.sync_bytes_per_second = static_cast<double>(s.sync_done_bytes) / seconds;
            s.sync_eta_seconds = static_cast<double>(pending) / s.sync_bytes_per_second;
        }
    }
    const throttle_view limit = view_of(settings_->throttle, run_.time->wall());
    s.limit_bytes_per_second = limit.rate;
    s.limit_source = limit.source;
    s.limit_until = limit.until;
    s.spool_used_bytes = held.disk_bytes;
    s.spool_limit_bytes = options_.config.spool_bytes_max;
    for (std::size_t i = 0; i < options_.config.volumes.size(); ++i) {
        const volume_index v{static_cast<std::uint16_t>(i)};
        s.volumes.push_back(
            {options_.config.volumes[i].name, capture_->volume_size(v), capture_->dirty_bytes(v),
             capture_->unreadable(v, unreadable_shown_max), capture_->unreadable_bytes(v)});
    }
    if (const auto skew = clock_.warning()) {
        s.warnings.push_back(*skew);
    }
    s.error = notice_ ? notice_ : error_ ? error_ : damage_;
    if (path_
            .suspects()) { // while a connection is up, too: it is about to end like the ones before
        s.error = error_ ? fmt::format("{} ({})", path_judge::words, *error_)
                         : std::string(path_judge::words);
    }
    if (session_up_ && hold_.active()) {
        s.error = fmt::format("the catch-up begins when clients slow down (they write {:.0f} "
                              "MB/s), {:.0f} s after that at the "
                              "latest",
                              hold_.rate() / 1e6, seconds_of(catch_up_hold::hold_max));
    }
    if (const std::string bad = unreadable_text(s.volumes); !bad.empty()) {
        s.error = s.error ? *s.error + "; " + bad : bad;
    }
    if (compared_) {
        s.error = s.error ? *compared_ + "; " + *s.error : *compared_;
    }
    if (order_lost_) { // what to do about it is still there when the line is down as well
        s.error = s.error ? *order_lost_ + "; " + *s.error : *order_lost_;
    }
    if (disturbed_) {
        s.error = disturbed_;
    }
    return s;
}

peer_status sender_group::peer() const {
    return {name(), options_.config.peer.empty() && peer_ ? peer_->address : options_.config.peer,
            peer_ ? peer_->fingerprint : "", session_up_};
}

void sender_group::set_peer(std::optional<pinned_peer> peer) {
    peer_ = std::move(peer);
    if (options_.shared) {
        options_.shared->set_peer(number_, peer_);
    }
    error_.reset();
    path_.moved(); // another peer, another path
    restart_session("the pairing changed");
}

namespace {

/// One more for as long as it lives.
class counted {
  public:
    explicit counted(std::size_t &count) : count_(count) { ++count_; }
    ~counted() { --count_; }
    counted(const counted &) = delete;
    counted &operator=(const counted &) = delete;

  private:
    std::size_t &count_;
};

} // namespace

// ---- wait
// ------------------------------------------------------------------------------------------

task<result<wait_outcome>> sender_group::wait(bool durable_only, duration timeout) {
    const time_point deadline = run_.time->now() + timeout;
    if (disturbed_) {
        co_return fail(errc::dead, *disturbed_);
    }
    if (!peer_) {
        co_return fail(
            errc::not_in_sync,
            fmt::format("group \"{}\" is not paired with a DR site; run `farshore invite {}` "
                        "there and `farshore join TOKEN` here",
                        name(), name()));
    }
    // Whoever waits wants the barrier now, however fast clients write.
    const counted waits(waits_);
    const counted commands(commands_);
    progress_.notify_all();
    std::optional<barrier_info> mine;
    while (!mine && !ending_) {
        if (ledger_.recorded() && capture_->pending_bytes() == 0 &&
            closed_.size() < limits::interval_queue_max) {
            const auto made = cut(true, true);
            if (made && made->consistent) {
                mine = made->barrier;
                break;
            }
        }
        const time_point again =
            std::min(deadline, run_.time->now() + std::chrono::milliseconds(100));
        co_await progress_.wait_until(*run_.time, again);
        if (run_.time->now() >= deadline) {
            break;
        }
    }
    const auto reached = [this, durable_only, &mine] {
        return mine &&
               (durable_only ? ledger_.durable_point() : ledger_.applied_point()) >= mine->id;
    };
    while (!ending_ && !reached() && run_.time->now() < deadline) {
        co_await progress_.wait_until(*run_.time, deadline);
    }
    if (!reached() && ending_) {
        co_return fail(errc::closed, "the sender stops");
    }
    if (!reached()) {
        const sender_group_status s = status();
        co_return fail(errc::timeout, fmt::format("group \"{}\": the DR site did not have the "
                                                  "barrier within {:.0f} s (state {}, {}{})",
                                                  name(), seconds_of(timeout), name_of(s.state),
                                                  s.connected ? "connected" : "not connected",
                                                  s.error ? ", last error: " + *s.error : ""));
    }
    wait_outcome out;
    out.group = name();
    out.point = std::to_string(mine->id.value);
    out.barrier = mine->id;
    out.time = mine->time;
    out.applied = ledger_.applied_point() >= mine->id;
    co_return out;
}

// ---- pause, resync, throttle
// -----------------------------------------------------------------------

task<result<>> sender_group::set_paused(bool paused) {
    const counted commands(commands_);
    FS_CO_CHECK(co_await settings_.change([paused](group_settings &s) -> result<> {
        s.paused = paused;
        return {};
    }));
    if (session_) {
        session_->set_paused(settings_->paused);
    }
    if (scan_) {
        scan_->kick();
    }
    work_.notify_all();
    co_return result<>{};
}

task<result<>> sender_group::resync(bool full) {
    const counted commands(commands_);
    if (!peer_) {
        co_return fail(errc::not_in_sync,
                       fmt::format("group \"{}\" is not paired with a DR site", name()));
    }
    co_await run_on(run_.disk, [this] {
        capture_->mark_all_dirty();
        return true;
    });
    // Again, and now without a disk: a scan that ran meanwhile may have settled some of it by
    // digests, which `full` refuses.
    capture_->mark_all_dirty();
    hold_.end(); // asked for now
    scan_full_ = full;
    log::info("group {}: resync asked for: {}", name(),
              full ? "everything is shipped"
                   : "everything is compared by digests, what differs is shipped");
    if (ledger_.recorded()) {
        lose_order("");
    } else {
        restart_session("a resync was asked for");
    }
    co_return result<>{};
}

task<result<>> sender_group::throttle_set(std::optional<std::uint64_t> rate,
                                          std::optional<duration> lasts) {
    const counted commands(commands_);
    FS_CO_CHECK(co_await settings_.change(
        [rate, lasts, now = run_.time->wall()](group_settings &s) -> result<> {
            s.throttle.set(rate, lasts, now);
            return {};
        }));
    apply_throttle();
    co_return result<>{};
}

task<result<>> sender_group::throttle_clear() {
    const counted commands(commands_);
    FS_CO_CHECK(co_await settings_.change([](group_settings &s) -> result<> {
        s.throttle.clear();
        return {};
    }));
    apply_throttle();
    co_return result<>{};
}

// ---- verify
// ----------------------------------------------------------------------------------------

namespace {

constexpr std::size_t ranges_each_job = 32; ///< on the disk pool at a time; at most 32 MiB are read

/// Puts ranges into the open interval; returns those that should be holes and are none.
result<std::vector<pending_range>> add_ranges(capture_group &capture,
                                              std::span<const pending_range> ranges,
                                              const digest_function &digest) {
    std::vector<pending_range> no_holes;
    for (const pending_range &r : ranges) {
        if (!verify_run::is_hole(r)) {
            FS_CHECK(capture.add_verify(r, digest));
            continue;
        }
        FS_TRY(hole, capture.add_verify_hole(r));
        if (!hole) {
            no_holes.push_back(r);
        }
    }
    return no_holes;
}

} // namespace

// The DR site knows as well, and makes no point until a catch-up has brought it what is marked
// here.
void sender_group::heal(const verify_run &run) {
    const std::vector<pending_range> wrong = run.to_heal();
    if (wrong.empty()) {
        return;
    }
    std::uint64_t bytes = 0;
    for (const pending_range &r : wrong) {
        capture_->mark_dirty(r.volume, r.range);
        bytes += r.range.length;
    }
    damage_known_ = std::max(damage_known_, run.damage_through());
    lose_order(fmt::format("verify found that the DR site's copy differs in {} range(s), {} bytes; "
                           "they are shipped again, and "
                           "the DR site makes no point until then",
                           wrong.size(), bytes));
}

// What one barrier compares.
task<std::vector<pending_range>> sender_group::take_to_verify() {
    constexpr std::size_t ranges_max = 2048;
    constexpr std::uint64_t bytes_max = 64 * limits::MiB;
    std::vector<pending_range> ranges;
    std::uint64_t bytes = 0;
    while (ranges.size() < ranges_max && bytes < bytes_max) {
        if (const auto where = verify_->wants_data()) {
            const auto data = co_await run_on(run_.disk, [this, where] {
                return capture_->next_data(where->volume, where->range.offset);
            });
            if (!data) {
                verify_->fail_with(data.error());
                break;
            }
            verify_->data_is(*data);
        }
        const std::vector<pending_range> more =
            verify_->take(ranges_max - ranges.size(), bytes_max - bytes);
        for (const pending_range &r : more) {
            bytes += verify_run::is_hole(r) ? 0 : r.range.length;
        }
        ranges.insert(ranges.end(), more.begin(), more.end());
        if (more.empty() && !verify_->wants_data()) {
            break;
        }
    }
    co_return ranges;
}

task<result<verify_outcome>> sender_group::verify(progress_report progress) {
    constexpr duration answer_timeout = std::chrono::minutes(2);
    if (verify_) {
        co_return fail(errc::busy,
                       fmt::format("a verify of group \"{}\" is running already", name()));
    }
    if (!session_up_ || !ledger_.recorded() || !consistent() || settings_->paused) {
        co_return fail(errc::not_in_sync,
                       fmt::format("group \"{}\" is {}; verify compares when it is streaming",
                                   name(), name_of(status().state)));
    }
    const counted commands(commands_);
    std::vector<std::uint64_t> sizes;
    for (std::size_t i = 0; i < capture_->volume_count(); ++i) {
        sizes.push_back(capture_->volume_size(volume_index{static_cast<std::uint16_t>(i)}));
    }
    verify_ = std::make_unique<verify_run>(std::move(sizes));
    const auto digester = std::make_shared<dedupe::digester>(digest_key_);
    const digest_function digest = [digester](bytes_view bytes) {
        return digester->of(bytes).bytes;
    };
    time_point heard = run_.time->now();
    std::uint64_t heard_bytes = 0;
    while (!verify_->failure() && !verify_->done() && !ending_) {
        std::vector<pending_range> ranges;
        if (!verify_->waiting()) {
            ranges = co_await take_to_verify();
        }
        for (std::size_t at = 0; at < ranges.size() && !verify_->failure(); at += ranges_each_job) {
            const auto some =
                std::span(ranges).subspan(at, std::min(ranges_each_job, ranges.size() - at));
            const auto added = co_await run_on(
                run_.disk, [this, some, &digest] { return add_ranges(*capture_, some, digest); });
            if (!added) {
                verify_->fail_with(added.error());
                break;
            }
            for (const pending_range &r : *added) {
                verify_->no_hole(r);
            }
        }
        if (!ranges.empty() && !verify_->failure()) {
            cut(true, true);
            verify_->put_back_touched();
        }
        if (verify_->waiting()) {
            co_await progress_.wait_until(*run_.time, run_.time->now() + std::chrono::seconds(1));
        }
        if (verify_->done_bytes() != heard_bytes || !verify_->waiting()) {
            heard = run_.time->now();
            heard_bytes = verify_->done_bytes();
        } else if (run_.time->now() - heard > answer_timeout) {
            verify_->fail_with({make_error_code(errc::timeout), "the DR site did not answer"});
        }
        if (progress) {
            progress(verify_->done_bytes(), verify_->total_bytes());
        }
    }
    const auto run = std::move(verify_);
    heal(*run);
    look_at_damage_said();
    if (run->failure()) {
        co_return std::unexpected(*run->failure());
    }
    if (ending_) {
        co_return fail(errc::closed, "the sender stops");
    }
    verify_outcome out;
    out.group = name();
    out.barrier = run->last_barrier();
    for (const pending_range &d : run->differences()) {
        out.differences.push_back({options_.config.volumes[d.volume.value].name, d.range});
    }
    out.equal = out.differences.empty();
    co_return out;
}

} // namespace farshore
