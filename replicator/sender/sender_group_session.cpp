// The session of a group with its DR site: connect, settle where to go on, ship, catch up, take
// acknowledgements.

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/sender/sender_group.hpp"
#include "replicator/sender/sender_verify.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr duration backoff_first = std::chrono::milliseconds(200);
constexpr duration backoff_max = std::chrono::seconds(3);

/// The line ended it: neither we nor the peer said anything.
bool is_of_line(const error &e) {
    return is(e, errc::timeout) || is_errno(e, ETIMEDOUT) || is_errno(e, ECONNRESET) ||
           is_errno(e, EPIPE) || is_errno(e, EHOSTUNREACH);
}

} // namespace

namespace {

// Before entropy coding: a frame takes at most 90 ms on a 100 Mbit/s line, a database's 15 ms; with
// half of it there would be 1 to 2 % more bytes.
constexpr std::size_t payload_body_bytes = limits::MiB;

} // namespace

// One for the life of the group: payloads depend on no earlier ones, and what its index knows stays
// useful.
std::shared_ptr<dedupe::encoder> sender_group::make_encoder() const {
    dedupe::encoder_options o;
    o.payload_body_bytes = payload_body_bytes;
    o.index_bytes = options_.memory.index_bytes;
    o.content_bytes = options_.memory.content_bytes;
    o.verify = options_.config.verify_encoding;
    for (std::size_t i = 0; i < capture_->volume_count(); ++i) {
        const std::uint64_t size =
            capture_->volume_size(volume_index{static_cast<std::uint16_t>(i)});
        o.volume_blocks.push_back(ceil_div(size, block_bytes));
    }
    return std::make_shared<dedupe::encoder>(std::move(o));
}

// What it reads may be newer than what was compared: hints need not be true.
void sender_group::note_same(const pending_range &piece) {
    buffer content(ceil_div(piece.range.length, block_bytes) * block_bytes);
    std::ranges::fill(content.span(), std::byte{0});
    if (!capture_->device(piece.volume)
             ->read(piece.range.offset, content.span().first(piece.range.length))) {
        return;
    }
    std::vector<dedupe::known_place> places;
    for (std::uint64_t at = 0; at < content.size(); at += block_bytes) {
        dedupe::note_known(piece.volume, block_index{(piece.range.offset + at) / block_bytes},
                           content.view().subspan(at, block_bytes), places);
    }
    known_.add(std::move(places));
}

wire::hello sender_group::make_hello() const {
    wire::hello h;
    h.group = name();
    h.session = random_u64();
    h.sender = options_.sender;
    h.instance = options_.instance;
    h.common = ledger_.durable();
    h.clock_ms = clock_ms_of(run_.time->wall());
    for (std::size_t i = 0; i < options_.config.volumes.size(); ++i) {
        h.volumes.push_back({options_.config.volumes[i].name,
                             capture_->volume_size(volume_index{static_cast<std::uint16_t>(i)})});
    }
    return h;
}

sender_facts sender_group::facts() const {
    sender_facts f;
    f.recording = order() != stream_order::lost;
    f.stream = ledger_.stream();
    if (ledger_.recorded()) {
        f.first_held = ledger_.first_held();
    }
    f.acked_in_stream = ledger_.acknowledged_in_stream();
    f.acknowledged = ledger_.durable();
    f.receiver = receiver_;
    f.last_used = std::max(ledger_.last_cut().id, capture_->start().last_interval);
    f.damage_known = damage_known_;
    const bool shipped = ledger_.stream().value != 0; // in this life
    f.begun = shipped ? ledger_.stream() : capture_->start().begun;
    f.sent = shipped ? sent_ : capture_->start().last_interval;
    f.exact = shipped || capture_->start().same_boot_or_clean;
    return f;
}

void sender_group::note_failure(const error &e) {
    const std::string text = e.text();
    if (const auto more = failures_.failed(text, run_.time->now())) {
        log::warning("group {}: {}{}", name(), text, *more);
    }
    error_ = text;
    if (path_.suspects()) {
        if (const auto more = failures_.failed(path_judge::words, run_.time->now())) {
            log::error("group {}: {}{}", name(), path_judge::words, *more);
        }
    }
}

task<void> sender_group::session_loop() {
    duration backoff = backoff_first;
    while (!stopping_) {
        if (!peer_ || (peer_->address.empty() && options_.config.peer.empty())) {
            co_await session_wanted_.wait();
            continue;
        }
        reconnect_now_ = false;
        const error reason = co_await run_session();
        if (stopping_) {
            break;
        }
        const bool worked = session_worked_;
        session_worked_ = false;
        if (!reconnect_now_) {
            note_failure(reason);
            backoff = worked ? backoff_first : std::min(backoff * 2, backoff_max);
            co_await session_wanted_.wait_until(*run_.time, run_.time->now() + backoff);
        } else {
            backoff = backoff_first;
        }
    }
}

task<error> sender_group::run_session() {
    const std::string address =
        options_.config.peer.empty() ? peer_->address : options_.config.peer;
    // Under a site's CA a name counts and no fingerprint: a certificate that is renewed stays the
    // DR site's.
    const expected_peer expected =
        options_.trust == trust_mode::site_ca
            ? expected_peer{options_.trust, "", name_expected(options_.config.peer_name, address)}
            : expected_peer{options_.trust, peer_->fingerprint, ""};
    auto connect = [this, address, expected](bool control) {
        return net_.make_connector(address, transport::alpn_session, expected,
                                   {pace_, daemon_pace_}, control);
    };
    sender_session::callbacks calls;
    calls.on_ack = [this](const wire::ack &a) { on_ack(a); };
    calls.on_nak = [this](wire::nak n) { return on_nak(std::move(n)); };
    calls.on_loans = [this](const wire::loan_reply &r) {
        if (loans_) {
            loans_->take(r);
        }
        loans_answered_.notify_all();
    };
    calls.on_digests = [this](wire::digest_reply r) {
        if (scan_) {
            scan_->on_reply(std::move(r));
        }
    };
    calls.on_extents = [this](const wire::extent_reply &r) {
        return scan_ ? scan_->on_extents(r) : result<>(); // of a scan that was given up
    };
    calls.on_verify = [this](const wire::verify_result &r) { return on_verify(r); };
    calls.on_clock = [this](std::uint64_t ms) { return clock_.heard(ms, run_.time->wall()); };
    calls.on_notice = [this](const wire::notice &n) {
        notice_ = n.text.empty() ? std::nullopt : std::optional(n.text);
    };
    session_ = std::make_unique<sender_session>(run_, *spool_, std::move(calls));
    settled_ = false;
    early_ack_.reset();
    damage_said_ = 0;
    task_group scanning(run_.home);
    auto shipping = co_await begin_shipping(connect);
    if (!shipping) {
        session_->close(shipping.error());
    } else {
        session_up_ = true;
        error_.reset();
        scanning.spawn(run_scan(*shipping));
        progress_.notify_all();
    }
    const error reason = co_await session_->ended();
    session_up_ = false;
    settled_ = false;
    session_end end;
    if (const auto since = session_->welcomed_at()) {
        end = {true, session_->moved(), is_of_line(reason), session_->tried(),
               run_.time->now() - *since};
    }
    path_.ended(end);
    if (scan_) {
        scan_->stop();
    }
    if (verify_) {
        verify_->fail_with({make_error_code(errc::not_in_sync),
                            fmt::format("the session with the DR site ended ({})", reason.text())});
    }
    progress_.notify_all();
    loans_answered_.notify_all();
    while (loan_sending_) {
        co_await loans_answered_.wait();
    }
    co_await scanning.join();
    co_await session_->join();
    wire_bytes_before_ += session_->wire_bytes();
    if (session_->sending() > next(sent_)) { // the one that it was at may have been sent in part
        sent_ = interval_id{session_->sending().value - 1};
    }
    session_.reset();
    notice_.reset();
    co_return reason;
}

// From connecting to frames on their way; returns the digest key of the session.
task<result<wire::key32>> sender_group::begin_shipping(sender_session::make_connector connect) {
    const sender_facts mine = facts();
    const interval_id known = std::max(mine.last_used, mine.acknowledged.interval);
    FS_CO_TRY(theirs, co_await session_->open(std::move(connect), make_hello(), known));
    verify_questions_->forget_through(theirs.applied.interval);
    FS_CO_CHECK(co_await session_->open_data_links(options_.links));
    // What was acknowledged before this session, whatever the DR site said since its welcome;
    // intervals go on meanwhile.
    sender_facts now = facts();
    now.acknowledged = mine.acknowledged;
    now.acked_in_stream = mine.acked_in_stream;
    const sender_plan plan = plan_session(now, theirs);
    const std::string begins_with = fmt::format("{} ({})", name_of(plan.decision), plan.reason);
    if (const auto more = connections_.failed(begins_with, run_.time->now())) {
        log::info("group {}: connected; {}{}", name(), begins_with, *more);
    }
    session_->set_paused(settings_->paused);
    switch (plan.decision) {
    case sender_decision::resume:
        session_->start_sending(ledger_.stream(), plan.from, plan.index);
        break;
    case sender_decision::restart: {
        FS_CO_CHECK(co_await session_->begin_stream(ledger_.stream(), plan.from));
        session_->start_sending(ledger_.stream(), plan.from, 0);
        break;
    }
    case sender_decision::catch_up:
    case sender_decision::compare_changed:
    case sender_decision::compare_all:
        co_await hold_catch_up();
        FS_CO_CHECK(co_await begin_new_stream(plan, theirs));
        session_->start_sending(ledger_.stream(), plan.first, 0);
        break;
    }
    if (theirs.receiver != receiver_) {
        receiver_ = theirs.receiver;
    }
    if (!theirs.damaged) {
        damage_known_ = std::max(damage_known_, theirs.damage_count); // healed before
    }
    wire::ack first;
    first.durable = theirs.durable;
    first.applied = theirs.applied;
    first.point = theirs.damaged || theirs.in_catch_up
                      ? std::min(theirs.point, ledger_.applied_point().value)
                      : theirs.point;
    settled_ = true;
    on_ack(first);
    if (const auto early = std::exchange(early_ack_, std::nullopt)) {
        on_ack(*early);
    }
    digest_key_ = theirs.digest_key;
    if (!session_->live()) {
        co_return fail(errc::cancelled, "the session ended as it began");
    }
    co_return digest_key_;
}

// Connected all the while, so that nobody takes it for trouble with the line.
task<void> sender_group::hold_catch_up() {
    const auto goes_on = [this] {
        return !stopping_ && session_->live() && waits_ == 0 &&
               hold_.holds(run_.time->now(), capture_->counts().written_bytes);
    };
    bool told = false;
    while (goes_on()) {
        session_up_ = true;
        if (hold_.rate() > 0 && !std::exchange(told, true)) {
            log::info("group {}: clients write {:.0f} MB/s, more than can be caught up with beside "
                      "them; the catch-up begins when "
                      "they slow down, in {:.0f} s at the latest",
                      name(), hold_.rate() / 1e6, seconds_of(catch_up_hold::hold_max));
        }
        co_await progress_.wait_until(*run_.time, run_.time->now() + catch_up_hold::sample_time);
    }
}

// Makes everything dirty in which volumes and copy may differ, beyond what is.
task<result<>> sender_group::settle_dirty(const sender_plan &plan, const wire::welcome &theirs) {
    if (plan.put_back) {
        compared_ = plan.reason;
    }
    bool all = plan.decision == sender_decision::compare_all;
    std::vector<wire::changed_run> changed;
    if (plan.decision == sender_decision::compare_changed && !capture_->all_dirty()) {
        FS_CO_TRY(told, co_await session_->ask_changed(ledger_.durable()));
        all = !told;
        changed = std::move(told).value_or(std::vector<wire::changed_run>{});
        if (all) {
            log::warning("group {}: the DR site's history does not reach back to barrier {}, the "
                         "newest that both sites are "
                         "known to have had: everything is compared",
                         name(), ledger_.durable().interval.value);
        }
    }
    const std::uint64_t before = dirty_bytes();
    co_await run_on(run_.disk, [this, all, &changed] {
        if (all) {
            capture_->mark_all_dirty();
        }
        for (const wire::changed_run &run : changed) {
            capture_->mark_dirty(volume_index{static_cast<std::uint16_t>(run.volume)},
                                 {run.first * region_bytes, run.count * region_bytes});
        }
        return true;
    });
    if (plan.decision == sender_decision::compare_changed) {
        log::info("group {}: {} bytes that the DR site changed after barrier {} are compared "
                  "beside {} that changed here; it is "
                  "at barrier {}",
                  name(), dirty_bytes() - before, ledger_.durable().interval.value, before,
                  theirs.durable.interval.value);
    }
    co_return result<>{};
}

std::uint64_t sender_group::dirty_bytes() const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < capture_->volume_count(); ++i) {
        sum += capture_->dirty_bytes(volume_index{static_cast<std::uint16_t>(i)});
    }
    return sum;
}

task<result<>> sender_group::begin_new_stream(const sender_plan &plan,
                                              const wire::welcome &theirs) {
    if (ledger_.recorded()) {
        capture_->begin_tracking();
        reset_stream();
    }
    FS_CO_CHECK(co_await settle_dirty(plan, theirs));
    const stream_id stream{random_u64() | 1};
    FS_CO_CHECK(co_await run_on(run_.disk, [this, stream, &plan, &theirs] {
        return capture_->prepare_stream(stream, plan.first, theirs.durable, theirs.receiver);
    }));
    ledger_.prepare(stream, theirs.durable);
    receiver_ = theirs.receiver;
    sent_ = interval_id{plan.first.value - 1};
    FS_CO_CHECK(co_await session_->begin_stream(stream, plan.first, plan.copy_went_back));
    co_await run_on(run_.disk, [this, stream, first = plan.first] {
        capture_->begin_recording(stream, first);
        return true;
    });
    heals_ = theirs.damage_count;
    damage_known_ = theirs.damage_count;
    if (!encoder_) {
        encoder_ = make_encoder();
    }
    ledger_.record(plan.first);
    order_lost_.reset();
    sync_total_ = capture_->pending_bytes();
    sync_began_ = run_.time->now();
    close_early_ = true;
    work_.notify_all();
    co_return result<>{};
}

// What is still pending is what one side has data of, and may be shipped.
task<void> sender_group::gather_offers() {
    if (options_.gather_offers && capture_->pending_bytes() >= offers_bytes_min) {
        co_await options_.gather_offers(
            [this] { return !stopping_ && session_ && session_->live(); });
    }
}

task<void> sender_group::run_scan(wire::key32 key) {
    if (capture_->pending_bytes() > 0) {
        scan_options options;
        options.compare = !scan_full_;
        options.key = key;
        options.same = [this](const pending_range &piece) { note_same(piece); };
        options.holes = [this](std::uint64_t bytes) {
            sync_total_ -= std::min(sync_total_, bytes);
        };
        options.before_data = [this] { return gather_offers(); };
        scan_ = std::make_unique<catch_up_scan>(
            *capture_, run_, options,
            [this](wire::digest_request r) { return session_->ask(std::move(r)); },
            [this](wire::extent_request r) { return session_->send_control(std::move(r)); },
            [this](bool overdue) {
                if (known_.many()) {
                    work_.notify_all();
                }
                return pipeline_has_room(overdue);
            });
        const auto done = co_await scan_->run();
        scan_.reset();
        if (!done) {
            if (is(done.error(), errc::not_in_sync)) {
                close_early_ =
                    true; // capture fell to tracking; the close loop sees it and says why
                work_.notify_all();
            } else if (!is(done.error(), errc::cancelled)) {
                session_->close(done.error());
            }
            co_return;
        }
        scan_full_ = false;
    }
    close_early_ = true; // the barrier that makes the point
    work_.notify_all();
}

void sender_group::restart_session(const char *why) {
    if (session_) {
        reconnect_now_ = true;
        session_->close({make_error_code(errc::cancelled), why});
    }
    session_wanted_.notify_all();
}

void sender_group::on_ack(const wire::ack &a) {
    if (!settled_) { // the plan is made of what was acknowledged before
        early_ack_ = a;
        return;
    }
    const newly_durable told = ledger_.take(a.durable, a.applied, interval_id{a.point});
    if (told.advanced) {
        if (told.point) {
            damage_.reset();
        }
        if (told.first_point) {
            log::info("group {}: in sync; the DR site follows from barrier {} on", name(),
                      told.first_point->id.value);
        }
        if (consistent()) {
            compared_.reset();
        }
        spool_->drop_through(a.durable.interval);
        tidy_soon();
        capture_->durable(a.durable, receiver_);
        session_worked_ = true;
        if (const auto after = failures_.worked(run_.time->now())) {
            log::info("group {}: the DR site takes data again{}", name(), *after);
        }
        static_cast<void>(connections_.worked(run_.time->now()));
        if (consistent() && !settings_->ever_consistent) {
            settings_.change_now([](group_settings &s) { s.ever_consistent = true; }, tasks_,
                                 fmt::format("group {}", name()));
        }
    }
    if (session_ && session_->moved()) {
        path_.moved();
    }
    if (scan_) {
        scan_->kick();
    }
    work_.notify_all();
    progress_.notify_all();
    damage_said_ = std::max(damage_said_, a.damage_count);
    look_at_damage_said();
}

// Counted there and told by nothing that came here, so which blocks is not known: the next welcome
// has everything compared. A verify that runs heals what it finds at its end.
void sender_group::look_at_damage_said() {
    if (settled_ && !verify_ && damage_said_ > damage_known_ && session_->live()) {
        on_damage("its copy was changed by somebody else, and where is not known here",
                  damage_known_);
    }
}

result<> sender_group::on_verify(const wire::verify_result &r) {
    FS_TRY(awaited, verify_questions_->answered(r));
    if (awaited && verify_ && verify_->knows(interval_id{r.interval})) {
        verify_->note_damage(r.damage_count, damage_known_);
        verify_->on_result(r);
        progress_.notify_all();
    } else if (awaited) {
        on_late_answer(r);
    }
    return {};
}

// Of a run that ended without it. The DR site counted what differs and relies on its being
// repaired.
void sender_group::on_late_answer(const wire::verify_result &r) {
    std::uint64_t bytes = 0;
    for (const wire::verify_item &item : r.items) {
        if (!item.equal && !item.unseen) {
            capture_->mark_dirty(volume_index{static_cast<std::uint16_t>(item.volume)},
                                 {item.offset, item.length});
            bytes += item.length;
        }
    }
    if (bytes > 0) { // with other damage in the count, where that is stays unknown
        const bool all_of_it = r.damage_count == damage_known_ + 1;
        on_damage(
            fmt::format("its copy differs: {} bytes, as a verify had asked that has ended", bytes),
            all_of_it ? r.damage_count : damage_known_);
    }
}

// The DR site found blocks that are not what the stream builds on. They are dirty from here on, and
// a catch-up repairs them; its copy makes no point until then.
task<void> sender_group::on_nak(wire::nak n) {
    co_await run_on(run_.disk, [this, &n] {
        if (!n.complete) {
            capture_->mark_all_dirty();
        }
        for (const wire::damaged_entry &b : n.blocks) { // of the group: receiver_claims looked
            const volume_index v{static_cast<std::uint16_t>(b.volume)};
            capture_->mark_dirty(v,
                                 {b.block * block_bytes,
                                  bytes_in_block(block_index{b.block}, capture_->volume_size(v))});
        }
        return true;
    });
    on_damage(n.complete
                  ? fmt::format("its copy was changed by somebody else: {} block(s) did not match",
                                n.blocks.size())
                  : "too many blocks of its copy did not match, or what was sent could not be "
                    "decoded there",
              n.damage_count);
}

/// What is wrong is dirty already.
void sender_group::on_damage(std::string what, std::uint64_t count) {
    damage_known_ = count;
    damage_ = fmt::format(
        "the DR site says that {}. It is compared and repaired now; until then its newest good "
        "point is {}",
        what, ledger_.applied_point().value);
    log::error("group {}: {}", name(), *damage_);
    if (ledger_.recorded()) {
        lose_order("");
    } else { // a stream that is about to begin would count as the repair
        restart_session("the DR site found damage");
    }
}

} // namespace farshore
