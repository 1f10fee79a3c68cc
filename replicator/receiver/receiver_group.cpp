// A group at the DR site: its copy, and how it is opened, failed, opened anew and closed. Links are
// greeted in receiver_group_greeting.cpp; points and status are in receiver_group_points.cpp.

#include "replicator/receiver/receiver_group.hpp"

#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_session.hpp"
#include "replicator/session/peer_claims.hpp"
#include "replicator/session/reaction.hpp"
#include "replicator/session/trust.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr duration reopen_after = std::chrono::seconds(5);

} // namespace

receiver_group::receiver_group(receiver_group_options options, runtime run, file_system &files,
                               std::vector<executor> nbd_loops)
    : options_(std::move(options)), run_(std::move(run)), files_(files), tasks_(run_.home),
      failure_{make_error_code(errc::busy),
               "its copy is being opened, and its disks have not answered yet"},
      log_(options_.config.name, *run_.time), clock_(*run_.time), desk_(run_),
      openings_(opening_means(std::move(nbd_loops)), run_, commands_), stage_(*this, log_, run_),
      scrub_(*this, log_, run_, options_.config.scrub_every) {
    fill_random(digest_key_);
}
receiver_group::~receiver_group() = default;

opened_points::means receiver_group::opening_means(std::vector<executor> nbd_loops) {
    opened_points::means m;
    m.group = name();
    m.directory = join_path(options_.state_directory, "openings");
    m.files = &files_;
    m.nbd_loops = std::move(nbd_loops);
    m.make_disk = options_.make_point_disk;
    m.bounds = [account = options_.account, places = options_.places] {
        return account ? nbd::client_bounds{account->open_share(), places}
                       : nbd::default_client_bounds();
    };
    m.copy = [this] { return copy_; };
    m.records = [this] { // keeps the copy as long as somebody uses it
        return copy_ ? std::shared_ptr<catalogue>(copy_, &copy_->facts()) : nullptr;
    };
    return m;
}

group_action receiver_group::step(group_event event) {
    const auto to = next(phase_, event);
    REPL_ASSERT(to);
    phase_ = to->next;
    changed_.notify_all();
    if (!serves()) {
        stage_.wake(); // to end
    }
    return to->action;
}

// ---- life
// -------------------------------------------------------------------------------------------

task<void> receiver_group::start() {
    if (auto opened = co_await open_if_present(); !opened) {
        open_failed(opened.error());
    }
    resume_openings(false);
    tasks_.spawn(live());
    tasks_.spawn(scrub_.run());
    tasks_.spawn(watch_exposure());
}

// A mount may take its time: neither start nor apply waits for it.
void receiver_group::resume_openings(bool all) {
    if (copy_ && !resuming_ && openings_.waiting()) {
        resuming_ = true;
        tasks_.spawn(resume_them(all));
    }
}

task<void> receiver_group::resume_them(bool all) {
    co_await openings_.resume(all);
    resuming_ = false;
}

task<void> receiver_group::live() {
    while (!is_stopping(phase_)) {
        if (serves()) {
            co_await stage_.run();
        } else if (phase_ == group_phase::turning) {
            co_await turn_copy();
        } else if (phase_ != group_phase::failed) {
            co_await changed_.wait();
        } else if (run_.time->now() < reopen_at_) {
            co_await changed_.wait_until(*run_.time, reopen_at_);
        } else if (step(group_event::pause_over) == group_action::reopen) {
            co_await reopen_copy();
        }
    }
}

void receiver_group::end_commands() {
    commands_.end();
    scrub_.end();
    stage_.applied().notify_all();
}

task<void> receiver_group::stop() {
    end_commands();
    if (step(group_event::stop) == group_action::tell_stop && session_) {
        co_await session_->refuse(wire::refusal_code::stopping, "the receiver stops");
    }
    co_await openings_.suspend();
    stage_.applied().notify_all();
    co_await tasks_.join();
    co_await commands_.join();
    co_await desk_.join();
    if (copy_ && phase_ == group_phase::stopping) {
        co_await keep_exposure();
        const auto committed = co_await run_on(run_.disk, [copy = copy_] { return copy->close(); });
        if (!committed) {
            log::warning("group {}: {}", name(), committed.error().text());
        }
    }
    stage_.let_go();
    copy_.reset();
}

// ---- the copy
// ---------------------------------------------------------------------------------------

replica_options receiver_group::storage_options() const {
    replica_options o;
    o.state_directory = options_.state_directory;
    o.journal_bytes_max = options_.config.journal_bytes_max;
    o.batch_bytes_max = options_.memory.batch_bytes;
    o.own_directory = options_.config.replica;
    o.segment_bytes = options_.config.segment_bytes;
    o.stretch_bytes = options_.config.stretch_bytes;
    for (const retain_rule &r : options_.config.retain) {
        o.retain.push_back({r.spacing, r.age});
    }
    o.serve = wants_to_serve();
    o.keep_all = o.serve && role().trial != promotion_trial::none;
    if (const std::string &name = (*role_.kept)->leave_as; !name.empty()) {
        o.left_as = point_label{label_kind::crash, name};
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
    FS_CO_CHECK(co_await finish_turn());
    copy_->set_verify_key(digest_key_);
    clock_.note_newest(copy_->position().newest_point);
    exposure_.newest = copy_->position().newest_point; // looked at when the sender had its say
    stage_.begin(copy_);
    step(group_event::copy_opened);
    co_return result<>{};
}

task<result<>> receiver_group::open_if_present() {
    if (role_.kept == nullptr) {
        FS_CO_TRY(kept_role, co_await options_.role());
        role_.kept = kept_role;
    }
    FS_CO_TRY(present, co_await run_on(run_.disk, [this]() -> result<bool> {
                  FS_CHECK(files_.make_directories(options_.state_directory));
                  FS_CHECK(load_digest_key());
                  return replica_group::exists(files_, options_.state_directory);
              }));
    if (present) {
        co_return co_await open_copy();
    }
    step(group_event::copy_absent); // the state directory is there
    co_return result<>{};
}

// A key of its own life would make each verify that a restart falls into a false alarm.
result<> receiver_group::load_digest_key() {
    const std::string path = join_path(options_.state_directory, "digest.key");
    FS_TRY(present, files_.exists(path));
    if (present) {
        FS_TRY(bytes, files_.read_file(path));
        if (bytes.size() != digest_key_.size()) {
            return fail(errc::corrupt, path + " is no key; remove it, a new one is made");
        }
        std::ranges::copy(bytes, digest_key_.begin());
        return {};
    }
    return files_.replace_file(path, digest_key_);
}

void receiver_group::open_failed(const error &e) {
    log_.tell(log::level::error, fmt::format("not served: {}; tried again every {:.0f} s", e.text(),
                                             seconds_of(reopen_after)));
    failure_ = e;
    said_.last_error = e.text();
    reopen_at_ = run_.time->now() + reopen_after;
    step(group_event::open_failed);
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
    }
    co_return opened;
}

task<void> receiver_group::reopen_copy() {
    co_await openings_.suspend(); // their devices read through the object that failed
    co_await scrub_.suspend();
    stage_.let_go();
    copy_.reset();
    auto opened = co_await open_if_present();
    scrub_.go_on();
    if (!opened) {
        open_failed(opened.error());
        co_return;
    }
    said_.last_error.reset();
    log_.tell(log::level::info,
              fmt::format("served again, at barrier {}",
                          copy_ ? copy_->position().applied.interval.value : 0),
              "served again");
    openings_.go_on();
    resume_openings(false); // a point that was not committed comes back as apply goes on
}

// ---- what session and stage tell it
// -----------------------------------------------------------------

void receiver_group::tell(log::level level, const std::string &text, const std::string &kind) {
    log_.tell(level, text, kind);
}

void receiver_group::note_durable(interval_id newest) {
    if (std::exchange(durable_seen_, newest) < newest) {
        log_.worked();
    }
}

task<void> receiver_group::wait_applied(time_point deadline) {
    co_await stage_.applied().wait_until(*run_.time, deadline);
}

loan_offer receiver_group::lender(const std::string &group) {
    return options_.lender ? options_.lender(group) : loan_offer{};
}

void receiver_group::note_peer_fault(const error &rule) {
    const std::string text = fmt::format("the sender broke the protocol: {}", rule.text());
    said_.last_error = text;
    if (std::exchange(said_.peer_fault, text) !=
        text) { // it may come back with it as often as it likes
        log::error("group {}: {}; its session ends, the copy and its points stay as they are",
                   name(), text);
    }
}

void receiver_group::storage_failed(error e) {
    const std::string words = words_of(e);
    said_.last_error = words;
    log_.tell(log::level::error, words);
    const auto session = session_;
    if (reaction_to(blame(fault::storage, e)) == reaction::await_space) {
        if (session) {
            session->refuse_soon(wire::refusal_code::full, words);
        }
        return;
    }
    if (!is_failed(phase_)) {
        failure_ = std::move(e);
        reopen_at_ = run_.time->now() + reopen_after;
    }
    if (step(group_event::storage_failed) == group_action::tell_session && session) {
        session->refuse_soon(wire::refusal_code::failed, words);
    }
}

std::string receiver_group::words_of(const error &e) const {
    const std::string holding = is(e, errc::full) ? openings_.holding() : "";
    return holding.empty() ? e.text() : e.text() + "; " + holding;
}

void receiver_group::words_changed() {
    if (session_) {
        session_->tell_soon(stage_.words_for_sender());
    }
}

void receiver_group::moved() {
    look_at_exposure();
    clock_.note_newest(copy_->position().newest_point);
    if (session_) {
        session_->ack_soon();
    }
}

void receiver_group::looked(const replica_position &at) {
    if (session_) {
        session_->tell_damage_soon(at.damage_count);
    }
    openings_.tell_suspect(at.suspect);
}

// A promotion that was cut off before all was applied goes on.
void receiver_group::all_applied() {
    resume_openings(true);
    if (wants_to_serve() && !copy_->served() && !role_.turning && phase_ == group_phase::idle) {
        step(group_event::turn);
    }
}

task<void> receiver_group::tell(wire::nak n) {
    if (const auto session = session_) {
        co_await session->tell(std::move(n));
    }
}

task<void> receiver_group::tell(wire::verify_result v) {
    if (const auto session = session_) {
        co_await session->tell(std::move(v));
    }
}

wall_time receiver_group::retention_time() {
    return clock_.retention_time(copy_->position(), connected());
}

} // namespace farshore
