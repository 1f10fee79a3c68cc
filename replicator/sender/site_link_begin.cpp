// Where a session goes on: what both sides know, the plan that follows, a new stream where one is
// needed, and the scan that catches up beside it.

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/sender/site_link.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {

wire::hello site_link::make_hello() const {
    const capture_group &capture = stream_.capture();
    wire::hello h;
    h.features_offered = wire::features_known;
    // An older receiver would take a label for damage.
    h.features_required = stream_.holds_labels() ? wire::feature_labels : 0;
    h.group = options_.group;
    h.session = random_u64();
    h.sender = options_.sender;
    h.instance = options_.instance;
    h.common = ledger_.durable();
    h.clock_ms = clock_ms_of(run_.time->wall());
    for (std::size_t i = 0; i < options_.volumes.size(); ++i) {
        h.volumes.push_back({options_.volumes[i],
                             capture.volume_size(volume_index{static_cast<std::uint16_t>(i)})});
    }
    return h;
}

sender_facts site_link::facts() const {
    const stream_ledger &stream = stream_.ledger();
    const auto &found = stream_.capture().start();
    sender_facts f;
    f.recording = order() != stream_order::lost;
    f.stream = stream.stream();
    if (stream.recorded()) {
        f.first_held = stream.first_held();
    }
    f.acked_in_stream = ledger_.acknowledged_in_stream();
    f.acknowledged = ledger_.durable();
    f.receiver = receiver_;
    f.last_used = std::max(stream.last_cut().id, found.last_interval);
    f.damage_known = damage_known_;
    const bool shipped = stream.stream().value != 0; // in this life
    f.begun = shipped ? stream.stream() : found.begun;
    f.sent = shipped ? sent_ : found.last_interval;
    f.exact = shipped || found.same_boot_or_clean;
    return f;
}

// From connecting to frames on their way.
task<result<>> site_link::begin_shipping() {
    const sender_facts mine = facts();
    const interval_id known = std::max(mine.last_used, mine.acknowledged.interval);
    auto greeted = offered_ ? co_await session_->open_on(std::move(offered_), make_hello(), known)
                            : co_await session_->open(connector(), make_hello(), known);
    FS_CO_TRY(theirs, std::move(greeted));
    now_.takes_labels = (theirs.features & wire::feature_labels) != 0;
    now_.knows_roles = (theirs.features & wire::feature_roles) != 0;
    host_.verified_through(theirs.applied.interval);
    FS_CO_CHECK(co_await session_->open_data_links(options_.links));
    // What was acknowledged before this session, whatever the DR site said since its welcome;
    // intervals go on meanwhile.
    sender_facts now = facts();
    now.acknowledged = mine.acknowledged;
    now.acked_in_stream = mine.acked_in_stream;
    const sender_plan plan = plan_session(now, theirs);
    const std::string begins_with = fmt::format("{} ({})", name_of(plan.decision), plan.reason);
    if (const auto more = words_.begins.failed(begins_with, run_.time->now())) {
        log::info("group {}: connected; {}{}", options_.group, begins_with, *more);
    }
    session_->set_paused(host_.paused());
    FS_CO_CHECK(co_await go_on(plan, theirs));
    settle(theirs);
    digest_key_ = theirs.digest_key;
    if (!session_->live()) {
        co_return fail(errc::cancelled, "the session ended as it began");
    }
    co_return result<>{};
}

task<result<>> site_link::go_on(const sender_plan &plan, const wire::welcome &theirs) {
    switch (plan.decision) {
    case sender_decision::resume:
        session_->start_sending(stream_.ledger().stream(), plan.from, plan.index);
        break;
    case sender_decision::restart:
        FS_CO_CHECK(co_await session_->begin_stream(stream_.ledger().stream(), plan.from));
        session_->start_sending(stream_.ledger().stream(), plan.from, 0);
        break;
    case sender_decision::catch_up:
    case sender_decision::compare_changed:
    case sender_decision::compare_all:
        co_await hold_catch_up();
        FS_CO_CHECK(co_await begin_new_stream(plan, theirs));
        session_->start_sending(stream_.ledger().stream(), plan.first, 0);
        break;
    }
    co_return result<>{};
}

// The welcome counts as an acknowledgement, and what came meanwhile after it.
void site_link::settle(const wire::welcome &theirs) {
    receiver_ = theirs.receiver;
    if (!theirs.damaged) {
        damage_known_ = std::max(damage_known_, theirs.damage_count); // healed before
    }
    wire::ack first;
    first.durable = theirs.durable;
    first.applied = theirs.applied;
    first.point = theirs.damaged || theirs.in_catch_up
                      ? std::min(theirs.point, ledger_.applied_point().value)
                      : theirs.point;
    now_.settled = true;
    on_ack(first);
    if (const auto early = std::exchange(now_.early_ack, std::nullopt)) {
        on_ack(*early);
    }
}

// Connected all the while, so that nobody takes it for trouble with the line.
task<void> site_link::hold_catch_up() {
    const auto written = [this] { return stream_.capture().counts().written_bytes; };
    bool told = false;
    while (!ending_ && session_->live() && !host_.awaited() &&
           hold_.holds(run_.time->now(), written())) {
        now_.at = stage::holding;
        if (hold_.rate() > 0 && !std::exchange(told, true)) {
            log::info("group {}: clients write {:.0f} MB/s, more than can be caught up with beside "
                      "them; the catch-up begins when they slow down, in {:.0f} s at the latest",
                      options_.group, hold_.rate() / 1e6, seconds_of(catch_up_hold::hold_max));
        }
        co_await held_.wait_until(*run_.time, run_.time->now() + catch_up_hold::sample_time);
    }
}

// Makes everything dirty in which volumes and copy may differ, beyond what is.
task<result<>> site_link::settle_dirty(const sender_plan &plan, const wire::welcome &theirs) {
    capture_group &capture = stream_.capture();
    if (plan.put_back) {
        words_.compared = plan.reason;
    }
    bool all = plan.decision == sender_decision::compare_all;
    std::vector<wire::changed_run> changed;
    if (plan.decision == sender_decision::compare_changed && !capture.all_dirty()) {
        FS_CO_TRY(told, co_await session_->ask_changed(ledger_.durable()));
        all = !told;
        changed = std::move(told).value_or(std::vector<wire::changed_run>{});
        if (all) {
            log::warning("group {}: the DR site's history does not reach back to barrier {}, the "
                         "newest that both sites are known to have had: everything is compared",
                         options_.group, ledger_.durable().interval.value);
        }
    }
    const std::uint64_t before = dirty_bytes();
    co_await run_on(run_.disk, [&capture, all, &changed] {
        if (all) {
            capture.mark_all_dirty();
        }
        for (const wire::changed_run &run : changed) {
            capture.mark_dirty(volume_index{static_cast<std::uint16_t>(run.volume)},
                               {run.first * region_bytes, run.count * region_bytes});
        }
        return true;
    });
    if (plan.decision == sender_decision::compare_changed) {
        log::info("group {}: {} bytes that the DR site changed after barrier {} are compared "
                  "beside {} that changed here; it is at barrier {}",
                  options_.group, dirty_bytes() - before, ledger_.durable().interval.value, before,
                  theirs.durable.interval.value);
    }
    co_return result<>{};
}

std::uint64_t site_link::dirty_bytes() const {
    const capture_group &capture = stream_.capture();
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < capture.volume_count(); ++i) {
        sum += capture.dirty_bytes(volume_index{static_cast<std::uint16_t>(i)});
    }
    return sum;
}

task<result<>> site_link::begin_new_stream(const sender_plan &plan, const wire::welcome &theirs) {
    stream_.end_stream();
    FS_CO_CHECK(co_await settle_dirty(plan, theirs));
    const stream_id stream{random_u64() | 1};
    FS_CO_CHECK(
        co_await stream_.prepare_stream(stream, plan.first, theirs.durable, theirs.receiver));
    ledger_.begin(theirs.durable);
    receiver_ = theirs.receiver;
    sent_ = interval_id{plan.first.value - 1};
    FS_CO_CHECK(co_await session_->begin_stream(stream, plan.first, plan.copy_went_back));
    co_await stream_.begin_recording(plan.first, theirs.damage_count);
    damage_known_ = theirs.damage_count;
    loans_.reached(std::max(theirs.durable.interval, plan.first));
    sync_ = {stream_.capture().pending_bytes(), run_.time->now()};
    co_return result<>{};
}

// ---- the catch-up ------------------------------------------------------------------------------

// What is still pending is what one side has data of, and may be shipped.
task<void> site_link::gather_offers() {
    if (options_.gather_offers && stream_.capture().pending_bytes() >= offers_bytes_min) {
        co_await options_.gather_offers(
            [this] { return !ending_ && session_ && session_->live(); });
    }
}

// What it reads may be newer than what was compared: hints need not be true. On the disk pool.
void site_link::note_same(const pending_range &piece) {
    buffer content(ceil_div(piece.range.length, block_bytes) * block_bytes);
    std::ranges::fill(content.span(), std::byte{0});
    if (!stream_.capture()
             .device(piece.volume)
             ->read(piece.range.offset, content.span().first(piece.range.length))) {
        return;
    }
    std::vector<dedupe::known_place> places;
    for (std::uint64_t at = 0; at < content.size(); at += block_bytes) {
        dedupe::note_known(piece.volume, block_index{(piece.range.offset + at) / block_bytes},
                           content.view().subspan(at, block_bytes), places);
    }
    stream_.known().add(std::move(places));
}

task<void> site_link::run_scan() {
    if (stream_.capture().pending_bytes() > 0) {
        scan_options options;
        options.compare = !scan_full_;
        options.key = digest_key_;
        options.same = [this](const pending_range &piece) { note_same(piece); };
        options.holes = [this](std::uint64_t bytes) {
            sync_.total_bytes -= std::min(sync_.total_bytes, bytes);
        };
        options.before_data = [this] { return gather_offers(); };
        scan_ = std::make_unique<catch_up_scan>(
            stream_.capture(), run_, options,
            [this](wire::digest_request r) { return session_->ask(std::move(r)); },
            [this](wire::extent_request r) { return session_->send_control(std::move(r)); },
            [this](bool overdue) {
                if (stream_.known().many()) {
                    stream_.kick();
                }
                return stream_.has_room(overdue);
            });
        const auto done = co_await scan_->run();
        scan_.reset();
        if (!done) {
            if (is(done.error(), errc::not_in_sync)) {
                stream_.cut_soon(); // capture fell to tracking; the pipeline sees it and says why
            } else if (!is(done.error(), errc::cancelled)) {
                session_->close(done.error());
            }
            co_return;
        }
        scan_full_ = false;
    }
    stream_.cut_soon(); // the barrier that makes the point
}

} // namespace farshore
