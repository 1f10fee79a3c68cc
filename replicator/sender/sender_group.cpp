// Stages of a group at the primary: start and stop, cut barriers, encode, spool, lose order. The
// session is in sender_group_session.cpp, commands and status in sender_group_commands.cpp.

#include "replicator/sender/sender_group.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/sender/encode_interval.hpp"
#include "replicator/sender/sender_verify.hpp"

#include <fmt/format.h>

namespace farshore {
namespace {

// In a catch-up, for blocks of a volume that a new one resembles and that are not in the page
// cache: a read that takes as long as the line does for the block is worth it. Beyond this, full
// blocks are sent: an interval has at most 16 MiB.
constexpr duration cold_reads_each_interval = std::chrono::seconds(1);

group_settings configured_settings(const sender_group_config &config) {
    group_settings s;
    s.throttle.configured = config.rate;
    return s;
}

} // namespace

sender_group::sender_group(sender_group_options options, runtime run, file_system &files,
                           network &net, std::shared_ptr<transport::pacer> daemon_pace,
                           std::vector<executor> nbd_loops)
    : options_(std::move(options)), run_(std::move(run)), files_(files), net_(net),
      daemon_pace_(std::move(daemon_pace)), pace_(std::make_shared<transport::pacer>(*run_.time)),
      nbd_loops_(std::move(nbd_loops)), tasks_(run_.home),
      verify_questions_(std::make_unique<verify_questions>()),
      settings_(files_, run_.disk, join_path(options_.state_directory, "group.json"),
                configured_settings(options_.config)) {}

sender_group::~sender_group() {
    REPL_ASSERT(commands_ == 0); // they end before the group does
}

void sender_group::end_commands() {
    ending_ = true;
    progress_.notify_all();
}

task<result<>> sender_group::start(std::optional<pinned_peer> peer) {
    peer_ = std::move(peer);
    started_ = run_.time->wall();
    FS_CO_TRY(found, co_await run_on(run_.disk, [this]() -> result<group_settings> {
                  FS_CHECK(files_.make_directories(options_.state_directory));
                  return read_group_settings(files_, settings_.path(),
                                             configured_settings(options_.config));
              }));
    settings_.found(found);
    capture_options capture;
    capture.state_directory = join_path(options_.state_directory, "capture");
    for (const sender_volume_config &v : options_.config.volumes) {
        capture.volumes.push_back({v.name, v.path});
    }
    capture.boot_id = options_.boot_id;
    capture.boot_began = options_.boot_began;
    capture.interval_bytes = options_.memory.interval_bytes;
    capture.memory_bytes_max = options_.memory.open_bytes_max;
    capture.time = run_.time;
    FS_CO_TRY(opened, co_await run_on(run_.disk, [this, capture] {
                  return capture_group::open(files_, capture);
              }));
    capture_ = std::move(opened);
    spool_options held;
    held.directory = join_path(options_.state_directory, "spool");
    held.memory_bytes_max = options_.memory.spool_bytes_max;
    held.disk_bytes_max = options_.config.spool_bytes_max;
    FS_CO_TRY(spool,
              co_await run_on(run_.disk, [this, held] { return spool::open(files_, held); }));
    spool_ = std::move(spool);
    ledger_.found(capture_->start().acknowledged);
    receiver_ = capture_->start().receiver;
    if (!capture_->start().alarm.empty()) {
        compared_ = capture_->start().alarm;
    }

    capture_->set_attention(
        [posted = attention_posted_, home = run_.home, alive = std::weak_ptr(alive_), this] {
            if (posted->exchange(true)) {
                return;
            }
            asio::post(home, [posted, alive, this] {
                posted->store(false);
                if (!alive.expired()) {
                    close_early_ = true;
                    work_.notify_all();
                }
            });
        });
    if (auto served = serve_nbd(); !served) {
        co_await close_nbd();
        co_return served;
    }
    if (options_.shared) { // last, since a start that failed is tried again
        std::vector<std::uint64_t> blocks;
        for (std::size_t i = 0; i < capture_->volume_count(); ++i) {
            blocks.push_back(
                block_count(capture_->volume_size(volume_index{static_cast<std::uint16_t>(i)})));
        }
        number_ = options_.shared->add_group(name(), blocks);
        options_.shared->set_peer(number_, peer_);
    }
    apply_throttle();
    tasks_.spawn(close_loop());
    tasks_.spawn(encode_loop());
    tasks_.spawn(upkeep_loop());
    tasks_.spawn(session_loop());
    co_return result<>{};
}

result<> sender_group::serve_nbd() {
    for (std::size_t i = 0; i < options_.config.volumes.size(); ++i) {
        const sender_volume_config &v = options_.config.volumes[i];
        if (v.nbd.empty()) {
            continue; // the simulation writes to the device itself
        }
        FS_TRY(where, nbd::parse_endpoint(v.nbd));
        nbd::export_entry entry{v.name, fmt::format("{}/{}", name(), v.name),
                                capture_->device(volume_index{static_cast<std::uint16_t>(i)})};
        servers_.push_back(std::make_unique<nbd::server>(
            std::vector{std::move(entry)}, nbd_loops_,
            i < options_.volume_disks.size() ? options_.volume_disks[i] : run_.disk,
            options_.clients.value_or(nbd::default_client_bounds())));
        FS_CHECK(servers_.back()->listen(where));
        log::info("group {}: volume {} ({}) is served at {}", name(), v.name, v.path,
                  nbd::export_uri(where, v.name));
    }
    return {};
}

task<void> sender_group::close_nbd() {
    for (auto &server : servers_) {
        co_await server->close(std::chrono::seconds(2));
    }
    servers_.clear();
}

task<void> sender_group::stop(time_point drain_until) {
    end_commands();
    co_await close_nbd();
    if (session_up_ && ledger_.recorded() && !settings_->paused) {
        cut(false, true);
        while (ledger_.recorded() && session_up_ &&
               ledger_.durable().interval < ledger_.last_cut().id &&
               co_await progress_.wait_until(*run_.time, drain_until)) {
        }
    }
    stopping_ = true;
    alive_.reset();
    if (session_) {
        session_->close({make_error_code(errc::closed), "the sender stops"});
    }
    work_.notify_all();
    session_wanted_.notify_all();
    progress_.notify_all();
    co_await tasks_.join();
    while (commands_ > 0) { // they see ending_
        co_await run_.time->sleep_for(std::chrono::milliseconds(10));
    }
    const auto closed = co_await run_on(run_.disk, [this] { return capture_->close_clean(); });
    if (!closed) {
        log::warning("group {}: not stopped cleanly: {}; the next start compares the active parts "
                     "of the volumes",
                     name(), closed.error().text());
    }
}

// ---- barriers
// --------------------------------------------------------------------------------------

std::optional<sender_group::cut_outcome> sender_group::cut(bool even_if_empty, bool requested) {
    auto closed = capture_->close_interval(run_.time->wall(), even_if_empty, requested);
    if (!closed) {
        return std::nullopt;
    }
    const bool consistent_cut = closed->commit().consistent;
    ledger_.cut({closed->position().interval, closed->commit().time}, consistent_cut,
                closed->written_bytes());
    verify_questions_->asked(closed->position().interval, closed->commit().verify);
    if (verify_) {
        verify_->on_cut(closed->position().interval, closed->commit().verify);
    }
    closed_.push_back(std::move(closed));
    work_.notify_all();
    progress_.notify_all();
    return cut_outcome{ledger_.last_cut(), consistent_cut};
}

std::uint64_t sender_group::closed_bytes() const {
    std::uint64_t sum = encoding_bytes_;
    for (const auto &interval : closed_) {
        sum += interval->memory_bytes();
    }
    return sum;
}

task<void> sender_group::close_loop() {
    while (!stopping_) {
        if (ledger_.recorded() && capture_->mode() == capture_mode::tracking) {
            hold_.begin(run_.time->now(), capture_->counts().written_bytes);
            lose_order(capture_->fallback_reason());
        }
        const time_point now = run_.time->now();
        const bool due = close_early_ || now >= next_close_;
        const bool room =
            closed_bytes() < closed_room() && closed_.size() < limits::interval_queue_max;
        if (due && room) {
            if (ledger_.recorded()) {
                // The end of a catch-up is a barrier even when nothing was written: it makes the
                // point.
                const bool completes =
                    !consistent() && !ledger_.point_in_flight() && capture_->pending_bytes() == 0;
                cut(completes, false);
            }
            close_early_ = false;
            next_close_ = now + options_.config.interval;
        }
        co_await work_.wait_until(*run_.time,
                                  due && !room ? now + std::chrono::milliseconds(20) : next_close_);
    }
}

// ---- encode and spool
// ------------------------------------------------------------------------------

encoder_load sender_group::load_of(const interval &taken) const {
    encoder_load load;
    load.waiting = closed_.size();
    load.age =
        taken.first_write() ? run_.time->now() - *taken.first_write() : options_.config.interval;
    load.filled_in = taken.closed_at() - taken.first_write().value_or(taken.closed_at());
    load.late_by = load.age - options_.config.interval;
    load.busy = encoder_busy_.value();
    load.in_sync = consistent();
    load.awaited = waits_ > 0;
    load.bytes = taken.memory_bytes();
    load.memory_used = capture_->counts().open_bytes + closed_bytes();
    load.memory_max = options_.memory.open_bytes_max + closed_room();
    return load;
}

task<void> sender_group::encode_loop() {
    while (!stopping_) {
        if (closed_.empty() && encoder_ && known_.many()) {
            co_await run_on(run_.cpu, [this, encoder = encoder_] {
                learn(*encoder);
                return true;
            });
            continue;
        }
        if (closed_.empty()) {
            co_await work_.wait();
            continue;
        }
        const std::shared_ptr<interval> taken = std::move(closed_.front());
        closed_.pop_front();
        const std::uint64_t epoch = ledger_.epoch();
        encoding_bytes_ = taken->memory_bytes();
        encoding_since_ = taken->first_write();
        const encoder_load load = load_of(*taken);
        const int level = level_.next(load);
        encoder_->set_level(level);
        const executor pool = level_policy::urgent(load) ? run_.cpu_urgent : run_.cpu;
        const std::vector<dedupe::loan> loans = co_await borrow(taken, pool);
        if (std::exchange(encoded_stream_, taken->position().stream) != taken->position().stream) {
            encoder_->forget_contents();
        }
        const time_point began = run_.time->now();
        auto encoded = std::make_shared<result<encoded_interval>>(
            co_await run_on(pool, [this, encoder = encoder_, taken, heals = heals_,
                                   patient = !consistent(), &loans] {
                taken->wait_settled();
                learn(*encoder);
                duration left = patient ? cold_reads_each_interval : duration{};
                const auto source = [&](volume_index volume, block_index block, bytes_span out) {
                    const time_point began = run_.time->now();
                    const bool found = capture_->read_unchanged(
                        volume, block, taken->position(), out,
                        left > duration{} ? cold_reads::wait : cold_reads::refuse);
                    left -= run_.time->now() - began;
                    return found;
                };
                return encode_interval(*encoder, *taken, heals, source, loans);
            }));
        encoder_busy_.add(began, run_.time->now());
        level_.took(level, load.bytes, run_.time->now() - began);
        if (!*encoded) { // a bug or bad memory: not one byte of it leaves, clients go on, a catch-up compares
            ++encoder_faults_;
            encoder_ = make_encoder();
            if (epoch == ledger_.epoch()) {
                lose_order(fmt::format("the encoder's self-check failed ({}); look at this host's "
                                       "memory, and report it",
                                       encoded->error().context));
            }
        } else if (epoch == ledger_.epoch()) {
            folded_bytes_ += (*encoded)->folded_bytes;
            encoded_bytes_ += (*encoded)->what.bytes;
            const auto pushed = co_await run_on(run_.disk, [this, encoded] {
                return spool_->push((*encoded)->what, std::move((*encoded)->frames));
            });
            if (epoch != ledger_.epoch()) {
                spool_
                    ->clear(); // order was lost meanwhile; only this loop adds, so nothing newer is in it
                tidy_soon();
            } else if (!pushed) {
                lose_order(fmt::format("{}; from here on only which blocks change is kept",
                                       pushed.error().text()));
            }
        }
        encoding_bytes_ = 0;
        encoding_since_.reset();
        work_.notify_all();
        if (session_) {
            session_->kick();
        }
    }
}

bool sender_group::pipeline_has_room(bool little) const {
    if (little && !settings_->paused &&
        capture_->counts().open_bytes < options_.memory.open_bytes_max / 4) {
        return true;
    }
    return !settings_->paused && closed_bytes() < options_.memory.closed_bytes_max / 4 &&
           capture_->counts().open_bytes < options_.memory.open_bytes_max / 2 &&
           spool_->use().bytes < options_.memory.spool_bytes_max * 3 / 4;
}

void sender_group::reset_stream() {
    ledger_.end();
    closed_.clear();
    spool_->clear();
    verify_questions_->clear();
    tidy_soon();
}

// What was dropped leaves the disk off home: a slow spool disk must not hold up the lines of other
// groups.
void sender_group::tidy_soon() {
    if (spool_->untidy() && !std::exchange(tidying_, true)) {
        tasks_.spawn(tidy_spool());
    }
}

task<void> sender_group::tidy_spool() {
    while (spool_->untidy()) {
        co_await run_on(run_.disk, [this] {
            spool_->tidy();
            return true;
        });
    }
    tidying_ = false;
}

// From an unbroken stream to tracking. The dirty map has every block of every dropped interval.
void sender_group::lose_order(const std::string &why) {
    if (!ledger_.recorded()) {
        return;
    }
    capture_->begin_tracking();
    reset_stream();
    if (!why.empty()) {
        log::warning("group {}: the order of writes is no longer kept: {}. A catch-up follows when "
                     "the DR site "
                     "can be reached; its newest point stays good until then",
                     name(), why);
        order_lost_ = why;
    }
    restart_session("a catch-up has to begin");
    progress_.notify_all();
}

task<void> sender_group::upkeep_loop() {
    while (!stopping_) {
        co_await progress_.wait_until(*run_.time, run_.time->now() + std::chrono::seconds(1));
        if (stopping_) {
            break;
        }
        capture_->note_writes_in_flight();
        const wall_time now = run_.time->wall();
        if (throttle_setting after = settings_->throttle; after.expire(now)) {
            settings_.change_now([now](group_settings &s) { s.throttle.expire(now); }, tasks_,
                                 fmt::format("group {}", name()));
            apply_throttle();
        }
        if (run_.time->now() < next_upkeep_) {
            continue;
        }
        next_upkeep_ = run_.time->now() + std::chrono::seconds(5);
        const auto kept = co_await run_on(run_.disk, [this] { return capture_->maintain(); });
        if (!kept) {
            const std::string text = kept.error().text();
            if (const auto more = upkeep_failures_.failed(text, run_.time->now())) {
                log::error("group {}: {}{}", name(), text, *more);
            }
        } else if (const auto after = upkeep_failures_.worked(run_.time->now())) {
            log::info("group {}: the dirty map can be written again{}", name(), *after);
        }
        if (!disturbed_ && !capture_->disturbance().empty()) {
            disturbed_ = capture_->disturbance();
            log::error("group {}: {}", name(), *disturbed_);
        }
        co_await reread();
    }
}

std::uint64_t sender_group::unreadable_bytes() const {
    std::uint64_t sum = 0;
    for (std::uint16_t i = 0; i < capture_->volume_count(); ++i) {
        sum += capture_->unreadable_bytes(volume_index{i});
    }
    return sum;
}

// Reading a bad place may take seconds: less and less often.
task<void> sender_group::reread() {
    const std::uint64_t before = unreadable_bytes();
    if (before == 0 || !ledger_.recorded()) {
        reread_after_ = {};
        co_return;
    }
    if (run_.time->now() < next_reread_) {
        co_return;
    }
    const auto left = co_await run_on(run_.disk, [this] { return capture_->retry_unreadable(); });
    reread_after_ = std::min<duration>(
        std::chrono::minutes(5), std::max<duration>(std::chrono::seconds(5), reread_after_ * 2));
    next_reread_ = run_.time->now() + reread_after_;
    if (left && *left == 0) {
        log::info(
            "group {}: what its disks could not read is known again; the next point covers it",
            name());
    }
}

void sender_group::apply_throttle() {
    pace_->set_rate(view_of(settings_->throttle, run_.time->wall()).rate);
}

} // namespace farshore
