// A group at the DR site: its copy, its sessions, apply. Points and status are in
// receiver_group_points.cpp.

#include "replicator/receiver/receiver_group.hpp"

#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_session.hpp"
#include "replicator/session/peer_claims.hpp"
#include "replicator/session/reaction.hpp"
#include "replicator/session/trust.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr duration commit_every = std::chrono::seconds(5);
constexpr duration retain_every = std::chrono::seconds(10);
constexpr duration reopen_after = std::chrono::seconds(5);
/// Durable intervals that the images lack; beyond, applying has the priority of clients' requests.
constexpr std::uint64_t apply_backlog_max = 4;

transport::message refusal_of(wire::refusal_code code, std::string text) {
    wire::refusal r;
    r.code = static_cast<std::uint8_t>(code);
    r.text = std::move(text);
    transport::message m;
    m.type = static_cast<std::uint16_t>(wire::message_type::refusal);
    m.payload = wire::encode(r);
    return m;
}

} // namespace

receiver_group::receiver_group(receiver_group_options options, runtime run, file_system &files,
                               std::vector<executor> nbd_loops)
    : options_(std::move(options)), run_(std::move(run)), files_(files),
      nbd_loops_(std::move(nbd_loops)), tasks_(run_.home) {
    fill_random(digest_key_);
}
receiver_group::~receiver_group() {
    REPL_ASSERT(commands_ == 0); // they end before the group does
}

void receiver_group::end_commands() {
    ending_ = true;
    applied_.notify_all();
}

replica_options receiver_group::storage_options() const {
    replica_options o;
    o.state_directory = options_.state_directory;
    o.journal_bytes_max = options_.config.journal_bytes_max;
    o.batch_bytes_max = options_.memory.batch_bytes;
    o.own_directory = options_.config.replica;
    for (const retain_rule &r : options_.config.retain) {
        o.retain.push_back({r.spacing, r.age});
    }
    return o;
}

std::string receiver_group::path_of(const std::string &volume) const {
    for (const auto &[name, path] : options_.config.targets) {
        if (name == volume) {
            return path;
        }
    }
    return join_path(options_.config.replica, volume + ".img");
}

task<result<>> receiver_group::open_copy() {
    auto opened = co_await run_on(
        run_.disk, [this, o = storage_options()] { return replica_group::open(files_, o); });
    if (!opened) {
        co_return std::unexpected(opened.error());
    }
    copy_ = std::move(*opened);
    copy_->set_verify_key(digest_key_);
    failure_.reset();
    note_newest();
    begin_replay(copy_->position());
    work_.notify_all();
    co_return result<>{};
}

task<void> receiver_group::start() {
    failure_ = error{make_error_code(errc::busy),
                     "its copy is being opened, and its disks have not answered yet"};
    if (auto opened = co_await open_if_present(); !opened) {
        open_failed(opened.error());
    }
    tasks_.spawn(apply_loop());
}

task<result<>> receiver_group::open_if_present() {
    FS_CO_TRY(present, co_await run_on(run_.disk, [this]() -> result<bool> {
                  FS_CHECK(files_.make_directories(options_.state_directory));
                  FS_CHECK(load_digest_key());
                  return replica_group::exists(files_, options_.state_directory);
              }));
    if (present) {
        co_return co_await open_copy();
    }
    failure_.reset(); // the state directory is there
    co_return result<>{};
}

void receiver_group::open_failed(const error &e) {
    tell(log::level::error, fmt::format("not served: {}; tried again every {:.0f} s", e.text(),
                                        seconds_of(reopen_after)));
    failure_ = e;
    last_error_ = e.text();
    reopen_at_ = run_.time->now() + reopen_after;
}

task<void> receiver_group::stop() {
    end_commands();
    stopping_ = true;
    if (session_) {
        co_await session_->refuse(wire::refusal_code::stopping, "the receiver stops");
    }
    while (!opened_.empty()) {
        co_await close_point(opened_.begin()->first);
    }
    work_.notify_all();
    applied_.notify_all();
    co_await tasks_.join();
    while (commands_ > 0) { // they see ending_
        co_await run_.time->sleep_for(std::chrono::milliseconds(10));
    }
    if (copy_ && !failure_) {
        const auto committed = co_await run_on(run_.disk, [copy = copy_] { return copy->close(); });
        if (!committed) {
            log::warning("group {}: {}", name(), committed.error().text());
        }
    }
    copy_.reset();
}

// ---- sessions
// --------------------------------------------------------------------------------------

receiver_facts receiver_group::facts(bool pinned) const {
    receiver_facts f;
    f.group_configured = true;
    f.pinned = pinned;
    f.failed = failure_.has_value();
    if (session_) {
        f.session_alive = session_->responsive();
        f.session_sender = session_->greeting().sender;
        f.session_instance = session_->greeting().instance;
    }
    f.has_copy = copy_ != nullptr;
    if (copy_) {
        for (const replica_volume &v : copy_->volumes()) {
            f.volumes.push_back({v.name, v.size});
        }
    }
    return f;
}

wire::welcome receiver_group::make_welcome() {
    const replica_position at = copy_->position();
    wire::welcome w;
    w.receiver = copy_->identity();
    w.durable = at.durable;
    w.applied = at.applied;
    if (const auto partial = copy_->partial()) {
        w.partial = partial->first;
        w.partial_index = partial->second;
    }
    w.point = newest_point();
    w.in_catch_up = at.in_catch_up;
    w.damage_count = damage_told_ = at.damage_count;
    w.damaged = at.damaged;
    w.window_bytes = options_.memory.window_bytes;
    w.digest_key = digest_key_;
    w.clock_ms = clock_ms_of(run_.time->wall());
    return w;
}

task<result<>> receiver_group::create_copy(std::vector<wire::volume_entry> volumes) {
    FS_CO_CHECK(check_new_volumes(volumes, options_.config));
    std::vector<replica_volume> made;
    for (const wire::volume_entry &v : volumes) {
        made.push_back({v.name, v.size, path_of(v.name)});
    }
    if (!options_.config.replica.empty()) {
        FS_CO_CHECK(co_await run_on(
            run_.disk, [this] { return files_.make_directories(options_.config.replica); }));
    }
    bool present = true;
    auto opened = co_await run_on(run_.disk, [this, o = storage_options(), made, &present] {
        auto created = replica_group::create(files_, o, made);
        if (!created) { // its last step may have failed when all was there
            present = replica_group::exists(files_, o.state_directory).value_or(false);
        }
        return created;
    });
    if (opened) {
        opened = co_await open_copy();
    }
    if (!opened && present) { // it is opened like any other that could not be
        open_failed(opened.error());
        work_.notify_all();
    }
    co_return opened;
}

hello_verdict receiver_group::judge(const wire::hello &hello, bool pinned) const {
    hello_verdict verdict = judge_hello(facts(pinned), hello);
    const auto refuse = [&verdict](wire::refusal_code code, std::string text) {
        verdict = {};
        verdict.code = code;
        verdict.text = std::move(text);
    };
    if (verdict.accept && (stopping_ || greeting_)) {
        refuse(wire::refusal_code::stopping,
               stopping_ ? "the receiver stops" : "another session is being greeted");
    }
    if (verdict.accept) {
        if (auto told = peer_clock().heard(hello.clock_ms, run_.time->wall()); !told) {
            refuse(wire::refusal_code::protocol, told.error().text());
        }
    }
    if (verdict.accept && verdict.creates_copy) {
        if (auto fits = check_new_volumes(hello.volumes, options_.config); !fits) {
            refuse(wire::refusal_code::volumes, fits.error().text());
        }
    }
    return verdict;
}

task<void> receiver_group::attach(std::unique_ptr<transport::link> link, wire::hello hello,
                                  bool pinned) {
    if (hello.link != 0) {
        if (pinned && session_ && session_->live() &&
            session_->greeting().session == hello.session) {
            session_->add_data_link(std::move(link));
        } else {
            link->close();
        }
        co_return;
    }
    hello_verdict verdict = judge_hello(facts(pinned), hello);
    if (verdict.accept) {
        if (auto told = clock_.heard(hello.clock_ms, run_.time->wall()); !told) {
            verdict = {};
            verdict.text = told.error().text();
        }
    }
    if (verdict.accept && (stopping_ || greeting_)) {
        verdict = {};
        verdict.code = wire::refusal_code::stopping;
        verdict.text = stopping_ ? "the receiver stops" : "another session is being greeted";
    }
    if (!verdict.accept) {
        if (failure_ && verdict.code == wire::refusal_code::failed) {
            verdict.text = failure_->text();
        }
        tell(log::level::warning,
             fmt::format("refused the sender at {}: {}", link->peer_address(), verdict.text),
             verdict.text);
        co_await link->send(refusal_of(verdict.code, verdict.text));
        link->close();
        co_return;
    }
    greeting_ = true;
    revoked_.reset();
    if (session_) {
        session_->close("the same sender is back on a new connection");
        while (session_) {
            co_await applied_.wait_until(*run_.time,
                                         run_.time->now() + std::chrono::milliseconds(50));
        }
    }
    if (verdict.creates_copy) {
        if (auto created = co_await create_copy(hello.volumes); !created) {
            greeting_ = false;
            tell(log::level::error, created.error().text());
            const auto code = is(created.error(), errc::mismatch) ? wire::refusal_code::volumes
                                                                  : wire::refusal_code::failed;
            last_error_ = created.error().text();
            co_await link->send(refusal_of(code, created.error().text()));
            link->close();
            co_return;
        }
    }
    // What was appended and not synced is made durable now, so that the position told is the
    // newest. The storage may have failed while the old session ended; it is opened anew only when
    // nobody is greeted.
    const auto copy = copy_;
    result<> synced = fail(errc::dead, "the storage of the copy failed and is being opened anew");
    if (copy && !failure_) {
        synced = co_await run_on(run_.disk, [copy] { return copy->sync_journal(); });
    }
    if (!synced || failure_ || stopping_ || revoked_) {
        greeting_ = false;
        if (synced && revoked_) {
            synced = fail(errc::not_trusted, *revoked_);
        } else if (synced) {
            synced = std::unexpected(
                failure_.value_or(error{make_error_code(errc::closed), "the receiver stops"}));
        } else if (copy && !failure_) {
            storage_failed(synced.error());
        }
        work_.notify_all();
        co_await link->send(refusal_of(wire::refusal_code::failed, synced.error().text()));
        link->close();
        co_return;
    }
    tell(log::level::info, fmt::format("session with the sender at {}", link->peer_address()),
         "session");
    if (!apply_waits_) {
        last_error_.reset();
    }
    damage_told_ = copy_->position().damage_count; // by the welcome
    session_ = std::make_shared<receiver_session>(*this, run_, std::move(link), std::move(hello),
                                                  options_.memory.window_bytes);
    greeting_ = false;
    const auto session = session_;
    co_await session->serve(make_welcome());
    wire_bytes_before_ += session->wire_bytes();
    session_.reset();
    applied_.notify_all();
}

void receiver_group::drop_session(const char *why) {
    if (greeting_) {
        revoked_ = why;
    }
    if (session_) {
        session_->close(why);
    }
}

bool receiver_group::connected() const { return session_ && session_->responsive(); }
std::string receiver_group::session_address() const { return session_ ? session_->address() : ""; }
std::string receiver_group::session_fingerprint() const {
    return session_ ? session_->fingerprint() : "";
}

std::uint64_t receiver_group::newest_point() const {
    const replica_position at = copy_->position();
    return at.newest_point ? at.newest_point->id.value : 0;
}

void receiver_group::tell(log::level level, const std::string &text, const std::string &kind) {
    if (const auto more = failures_.failed(kind, run_.time->now())) {
        log::write(level, fmt::format("group {}: {}{}", name(), text, *more));
    }
}

task<void> receiver_group::send_ack() {
    if (!copy_) {
        co_return;
    }
    const replica_position at = copy_->position();
    if (std::exchange(durable_seen_, at.durable.interval) < at.durable.interval) {
        if (const auto after = failures_.worked(run_.time->now())) {
            log::debug("group {}: data arrives and is kept{}", name(), *after);
        }
    }
    const auto session = session_;
    if (!session || !session->live()) {
        co_return;
    }
    wire::ack a;
    a.durable = at.durable;
    a.applied = at.applied;
    a.point = newest_point();
    a.journaled_bytes = session->journaled_bytes();
    a.damage_count = damage_told_; // an ack must not overtake its nak
    co_await session->send(a);
}

// ---- apply
// -----------------------------------------------------------------------------------------

void receiver_group::note_peer_fault(const error &rule) {
    const std::string text = fmt::format("the sender broke the protocol: {}", rule.text());
    last_error_ = text;
    if (std::exchange(peer_fault_, text) != text) { // it may come back with it as often as it likes
        log::error("group {}: {}; its session ends, the copy and its points stay as they are",
                   name(), text);
    }
}

void receiver_group::react(error e) {
    switch (reaction_to(e)) {
    case reaction::end_session:
        if (session_ && e.whose == fault::peer) {
            session_->peer_broke(e);
        } else if (session_) {
            session_->refuse_soon(wire::refusal_code::failed, e.text());
        }
        return;
    case reaction::reopen_copy:
    case reaction::await_space:
    case reaction::keep_pending: // there is no volume of a primary here
        storage_failed(std::move(e));
        return;
    }
}

void receiver_group::storage_failed(error e) {
    const std::string words = with_open_points(e);
    last_error_ = words;
    tell(log::level::error, words);
    const bool space = reaction_to(blame(fault::storage, e)) == reaction::await_space;
    if (!space && !failure_) {
        failure_ = e;
        reopen_at_ = run_.time->now() + reopen_after;
    }
    work_.notify_all();
    if (const auto session = session_) {
        session->refuse_soon(space ? wire::refusal_code::full : wire::refusal_code::failed, words);
    }
}

task<result<>> receiver_group::apply_once() {
    const auto copy = copy_;
    const replica_position before = copy->position();
    const bool behind =
        before.durable.interval.value > before.applied.interval.value + apply_backlog_max;
    const bool marked = copy->suspicion_durable();
    auto applied =
        co_await run_on(behind ? run_.cpu_urgent : run_.cpu, [copy] { return copy->apply(); });
    if (!marked) {
        applied_.notify_all(); // a session waits for it
    }
    FS_CO_TRY(done, std::move(applied));
    if (done.intervals == 0) {
        apply_worked();
        if (std::exchange(openings_wait_, false)) {
            co_await resume_openings(true);
        }
        const bool wait_for_more = run_.time->now() < next_commit_;
        if (!wait_for_more) {
            next_commit_ = run_.time->now() + commit_every;
            FS_CO_CHECK(co_await run_on(run_.disk, [copy] { return copy->commit(); }));
            tell_damage(copy->position());
            tell_suspect(copy->position());
        }
        if (run_.time->now() >= next_retain_ || copy->crowded()) {
            FS_CO_CHECK(co_await retain());
        }
        if (!copy->suspicion_durable()) {
            co_return result<>{};
        }
        // Idle: nothing to commit later than the next multiple of the commit time.
        co_await work_.wait_until(*run_.time, run_.time->now() + commit_every);
        co_return result<>{};
    }
    bytes_applied_ += done.bytes_written;
    apply_worked();
    const replica_position at = copy->position();
    wrong_bases_ += done.damaged.size();
    const auto session = session_;
    if (!done.damaged.empty() && session) {
        damage_told_ = at.damage_count;
        log::error(
            "group {}: up to {} block(s) of the copy are not what the primary's changes build on: "
            "somebody wrote to "
            "the replica images. They are repaired from the primary; no point is made until then",
            name(), done.damaged.size());
        wire::nak n;
        n.damage_count = at.damage_count;
        // Its count has all that this step found, so it must name all of it: what verify found is
        // told by other messages, which a sender that has heard of damage takes no more.
        const bool verify_found = std::ranges::any_of(done.verified, &verify_answer::differs);
        n.complete = done.undecoded.empty() && !verify_found &&
                     done.damaged.size() <= limits::regions_per_nak_max;
        for (std::size_t i = 0; n.complete && i < done.damaged.size(); ++i) {
            n.blocks.push_back({done.damaged[i].volume.value, done.damaged[i].block});
        }
        co_await session->send(std::move(n));
    }
    co_await tell_verified(std::move(done.verified));
    applied_.notify_all();
    note_newest();
    if (session_) {
        session_->ack_soon();
    }
    if (run_.time->now() >= next_commit_) {
        next_commit_ = run_.time->now() + commit_every;
        FS_CO_CHECK(co_await run_on(run_.disk, [copy] { return copy->commit(); }));
    }
    if (run_.time->now() >= next_retain_ || copy->crowded()) {
        FS_CO_CHECK(co_await retain());
    }
    tell_damage(copy->position());
    tell_suspect(copy->position());
    co_return result<>{};
}

task<result<>> receiver_group::retain() {
    next_retain_ = run_.time->now() + retain_every;
    co_return co_await run_on(run_.disk,
                              [copy = copy_, now = retention_time()] { return copy->retain(now); });
}

wall_time receiver_group::retention_time() {
    std::optional<wall_time> newest;
    if (const auto point =
            copy_->position().newest_kept) { // suspect or not: it is what may be lost
        newest =
            point->arrival == wall_time{} ? point->time : std::min(point->time, point->arrival);
    }
    const auto difference = connected() ? clock_.difference() : std::nullopt;
    return retention_.advance(run_.time->now(), run_.time->wall(), newest, difference);
}

wall_time receiver_group::stamp() {
    static_cast<void>(retention_time());
    retention_.stamped();
    return run_.time->wall();
}

void receiver_group::note_newest() {
    if (const auto point = copy_->position().newest_point; point && point->id != newest_seen_) {
        newest_seen_ = point->id;
        newest_since_ = run_.time->now();
    }
}

task<void> receiver_group::reopen_copy() {
    co_await suspend_openings(); // their devices read through the object that failed
    copy_.reset();
    if (auto opened = co_await open_if_present(); !opened) {
        open_failed(opened.error());
        co_return;
    }
    last_error_.reset();
    tell(log::level::info,
         fmt::format("served again, at barrier {}",
                     copy_ ? copy_->position().applied.interval.value : 0),
         "served again");
    openings_wait_ = true; // a point that was not committed comes back as apply goes on
    co_await resume_openings(false);
}

task<void> receiver_group::apply_loop() {
    while (!stopping_) {
        if (failure_) {
            co_await work_.wait_until(*run_.time, reopen_at_);
            if (stopping_ || run_.time->now() < reopen_at_ || session_ || greeting_) {
                if (session_ || greeting_) {
                    co_await run_.time->sleep_for(std::chrono::milliseconds(50));
                }
                continue;
            }
            co_await reopen_copy();
            continue;
        }
        if (!copy_) {
            co_await work_.wait();
            continue;
        }
        if (auto done = co_await apply_once();
            !done) { // only of storage: what the sender sent is damage, not an error
            apply_failed(done.error());
            if (!failure_) {
                co_await work_.wait_until(*run_.time, run_.time->now() + reopen_after);
            }
        }
    }
}

} // namespace farshore
