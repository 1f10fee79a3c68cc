#include "replicator/receiver/opened_points.hpp"

#include "replicator/base/log.hpp"
#include "replicator/base/opening_limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace farshore {
namespace {

constexpr duration try_again_after = std::chrono::seconds(5);

bool no_space(const error &e) {
    return is_errno(e, ENOSPC) || is_errno(e, EDQUOT) || is(e, errc::full);
}

} // namespace

class opened_points::turn {
  public:
    static task<std::unique_ptr<turn>> of(condition &free, std::shared_ptr<opening> o) {
        while (o->busy) {
            co_await free.wait();
        }
        co_return std::unique_ptr<turn>(new turn(free, std::move(o)));
    }
    ~turn() {
        opening_->busy = false;
        free_.notify_all();
    }
    turn(const turn &) = delete;
    turn &operator=(const turn &) = delete;

  private:
    turn(condition &free, std::shared_ptr<opening> o) : free_(free), opening_(std::move(o)) {
        opening_->busy = true;
    }
    condition &free_;
    std::shared_ptr<opening> opening_;
};

opened_points::opened_points(means how, runtime run, commands_under_way &commands)
    : how_(std::move(how)), run_(std::move(run)), commands_(commands) {}

const opening_means &opened_points::served_by() {
    if (!served_by_) {
        const auto threads = [&] { return how_.make_disk ? how_.make_disk() : run_.disk; };
        served_by_ = opening_means{how_.group, how_.directory, how_.files, how_.nbd_loops,
                                   threads(),  threads(),      how_.bounds};
    }
    return *served_by_;
}

result<std::shared_ptr<catalogue>> opened_points::records() const {
    if (auto there = how_.records()) {
        return there;
    }
    return fail(errc::busy, fmt::format("group \"{}\": its copy is not open now, and what is kept "
                                        "of its openings with it; try again when `farshore "
                                        "status` shows it following",
                                        how_.group));
}

// ---- opened and closed
// ------------------------------------------------------------------------------

task<result<opened_point>> opened_points::open(replica_point point, open_request wanted,
                                               std::optional<interval_id> since) {
    const commands_under_way::mark here(commands_);
    if (opened_.size() >= limits::openings_max) {
        co_return fail(errc::limit,
                       fmt::format("group \"{}\" has {} points open, and no more at a time; "
                                   "`farshore opened` lists them, `farshore close ID` ends one",
                                   how_.group, limits::openings_max));
    }
    if (!wanted.mount.empty()) {
        FS_CO_CHECK(co_await run_on(served_by().mounting,
                                    [d = wanted.mount] { return point_mount::check(d); }));
    }
    FS_CO_TRY(o, co_await make(std::move(point), std::move(wanted), since));
    const auto mine = co_await turn::of(free_, o);
    if (!opened_.emplace(o->record().id, o).second) {
        co_return fail(errc::busy, "another point is being opened; try again");
    }
    if (auto started = co_await start(o); !started) {
        o->gone = true;
        opened_.erase(o->record().id);
        co_return std::unexpected(started.error());
    }
    co_return o->view(how_.group);
}

task<result<std::shared_ptr<opening>>> opened_points::make(replica_point point, open_request wanted,
                                                           std::optional<interval_id> since) {
    nbd::endpoint where;
    if (!wanted.nbd.empty()) {
        FS_CO_TRY(parsed, nbd::parse_endpoint(wanted.nbd));
        where = std::move(parsed);
    }
    catalogued_opening r;
    bool lasts = !wanted.attached;
    const auto now_ms = run_.time->wall().time_since_epoch().count() / 1'000'000;
    if (wanted.attached) { // files of one that a killed process had are not taken for its own
        r.id = fmt::format("{}-a{:x}-{}", how_.group, now_ms, ++attached_);
    } else {
        FS_CO_TRY(kept, records());
        const auto number = co_await run_on(run_.disk, [kept] { return kept->next_opening(); });
        // On a full disk a point can still be looked at; record() is tried until it has room.
        lasts = number.has_value();
        if (!lasts && (wanted.writable || !wanted.mount.empty() || !no_space(number.error()))) {
            co_return std::unexpected(number.error());
        }
        r.id = lasts ? fmt::format("{}-{}", how_.group, *number)
                     : fmt::format("{}-t{:x}", how_.group, now_ms);
    }
    r.point = point.id;
    r.writable = wanted.writable;
    r.suspect = wanted.suspect;
    r.space_bytes =
        wanted.writable ? wanted.space_bytes.value_or(limits::overlay_space_default) : 0;
    r.nbd = std::move(wanted.nbd);
    r.mount = wanted.attached && wanted.mount_attached
                  ? join_path(join_path(how_.directory, r.id), "mounted")
                  : std::move(wanted.mount);
    r.changed_since = since.value_or(interval_id{});
    r.since = run_.time->wall();
    auto o = std::make_shared<opening>(std::move(r), std::move(where));
    o->attached = wanted.attached;
    o->since = run_.time->now();
    o->suspect_said = point.suspect;
    o->kept = lasts;
    co_return o;
}

/// In the opening's turn. After an error nothing is left of it.
task<result<>> opened_points::start(std::shared_ptr<opening> o) {
    const opening_means &by = served_by();
    const auto copy = how_.copy();
    const auto goes_on = [&] {
        return commands_.ending() ? fail(errc::closed, "the receiver stops")
               : paused_ || !copy || copy != how_.copy()
                   ? fail(errc::busy, "the copy is being opened anew; try again")
                   : result<>{};
    };
    result<> done = goes_on();
    if (done && o->record().writable) {
        done = co_await o->create_overlay(run_, by, copy->volumes());
    }
    if (done) {
        done = co_await o->serve(run_, by, copy, true);
    }
    if (done) {
        done = goes_on();
    }
    if (done && o->kept) { // last: what is not in the catalogue is a leftover
        done = co_await keep(*o);
    }
    if (done && o->unrecorded()) {
        o->next_try = run_.time->now() + try_again_after;
        log::warning("group {}: point {}, opened as {}: {}", how_.group, o->record().point.value,
                     o->record().id, opening::unrecorded_words);
    }
    if (!done) {
        co_await o->suspend(run_, by, true);
        static_cast<void>(co_await remove_opening_files(run_, by, o->record().id));
    }
    co_return done;
}

/// In the catalogue. One that is only looked at does without it on a full disk.
task<result<>> opened_points::keep(opening &o) {
    FS_CO_TRY(kept, records());
    auto done = co_await run_on(run_.disk, [kept, r = o.record()] { return kept->add_opening(r); });
    o.kept = done.has_value();
    const bool looked_at = !o.record().writable && o.record().mount.empty();
    if (!done && looked_at && no_space(done.error())) {
        done = {};
    }
    co_return done;
}

/// In the opening's turn: what was opened on a full disk, in case that has room again.
task<void> opened_points::record(std::shared_ptr<opening> o) {
    o->next_try = run_.time->now() + try_again_after;
    const auto done = co_await keep(*o);
    if (!done) { // not for a lack of space
        std::string why = "a restart of the receiver closes it: " + done.error().text();
        if (o->trouble != why) {
            log::warning("group {}: point {}, opened as {}: {}", how_.group,
                         o->record().point.value, o->record().id, why);
        }
        o->trouble = std::move(why);
        co_return;
    }
    o->trouble.reset(); // only that: it is served, and has no mount
    if (o->kept) {
        log::info("group {}: point {}, opened as {}: the disk of `state` has room again, it stays "
                  "open over restarts",
                  how_.group, o->record().point.value, o->record().id);
    }
}

task<result<>> opened_points::close(std::string id) {
    const auto none = [&] {
        return fail(errc::not_found, fmt::format("nothing is open under the id \"{}\"", id));
    };
    const auto at = opened_.find(id);
    if (at == opened_.end()) {
        co_return none();
    }
    const commands_under_way::mark here(commands_);
    const std::shared_ptr<opening> o = at->second;
    const auto mine = co_await turn::of(free_, o);
    if (o->gone) {
        co_return none();
    }
    co_return co_await drop(o);
}

/// In the opening's turn. First out of the catalogue: what is left then is removed at the next
/// start. On a full disk it is its overlay that makes the room for that.
task<result<>> opened_points::drop(std::shared_ptr<opening> o) {
    auto done = co_await forget(*o);
    if (!done && !no_space(done.error())) {
        co_return done;
    }
    const std::string id = o->record().id;
    co_await o->suspend(run_, served_by(), true);
    if (auto removed = co_await remove_opening_files(run_, served_by(), id); !removed) {
        log::warning("opened point {} is closed, and its files stay until the next start: {}", id,
                     removed.error().text());
    }
    if (!done) {
        done = co_await forget(*o);
    }
    if (!done) {
        o->trouble = "it is closed, and comes back at the next start unless it is closed again: " +
                     done.error().text();
        o->next_try = time_point::max();
        co_return fail(done.error().code, id + ": " + *o->trouble);
    }
    o->gone = true;
    opened_.erase(id);
    co_return result<>{};
}

/// Takes it out of the catalogue.
task<result<>> opened_points::forget(const opening &o) {
    if (!o.kept) {
        co_return result<>{};
    }
    FS_CO_TRY(kept, records());
    co_return co_await run_on(run_.disk,
                              [kept, id = o.record().id] { return kept->remove_opening(id); });
}

// ---- over restarts
// ----------------------------------------------------------------------------------

task<result<>> opened_points::load() {
    FS_CO_TRY(kept, records());
    FS_CO_TRY(all, co_await run_on(run_.disk, [kept] { return kept->openings(); }));
    if (std::exchange(loaded_, true)) {
        co_return result<>{};
    }
    for (catalogued_opening &r : all) {
        const auto where = r.nbd.empty() ? nbd::endpoint{} : nbd::parse_endpoint(r.nbd);
        if (!where) {
            log::error("group {}: opened point {} is not served: {}", how_.group, r.id,
                       where.error().text());
            continue;
        }
        const std::string id = r.id;
        const duration ago = std::max(duration{}, run_.time->wall() - r.since);
        auto o = std::make_shared<opening>(std::move(r), *where);
        o->since = run_.time->now() - ago;
        o->trouble = "its point is not applied yet after the start";
        if (const auto copy = how_.copy()) {
            o->name_volumes(copy->volumes());
        }
        opened_.try_emplace(id, std::move(o));
    }
    co_await remove_leftovers();
    co_return result<>{};
}

/// What a process that was killed while it opened or closed something left. The mounts of what is
/// open are cleaned up as it is served again.
task<void> opened_points::remove_leftovers() {
    const auto there = co_await run_on(
        run_.disk,
        [files = how_.files, directory = how_.directory]() -> result<std::vector<std::string>> {
            FS_TRY(present, files->exists(directory));
            return present ? files->list(directory) : std::vector<std::string>{};
        });
    if (!there) {
        log::warning("group {}: {}; what openings left there stays", how_.group,
                     there.error().text());
        co_return;
    }
    for (const std::string &id : *there) {
        if (opened_.contains(id)) {
            continue;
        }
        if (auto gone = co_await remove_opening_files(run_, served_by(), id); !gone) {
            log::warning("group {}: files of {}, which is not open, stay: {}", how_.group, id,
                         gone.error().text());
        }
    }
}

task<void> opened_points::suspend() {
    paused_ = true;
    std::vector<std::shared_ptr<opening>> all; // an operator may close one meanwhile
    for (const auto &[id, o] : opened_) {
        all.push_back(o);
    }
    for (const auto &o : all) {
        const auto mine = co_await turn::of(free_, o);
        co_await o->suspend(run_, served_by(), false);
        if (o->next_try != time_point::max()) { // else it is closed, but for its record
            o->next_try = {};
        }
    }
}

bool opened_points::waiting() const {
    return !loaded_ || std::ranges::any_of(opened_, [&](const auto &one) {
        const opening &o = *one.second;
        return (!o.served() || o.unrecorded()) && !o.busy && o.next_try <= run_.time->now();
    });
}

task<void> opened_points::resume(bool all) {
    if (!loaded_) {
        if (auto loaded = co_await load(); !loaded) {
            log::warning("group {}: which points were open is not known yet: {}", how_.group,
                         loaded.error().text());
            co_return;
        }
    }
    std::vector<std::shared_ptr<opening>> waiting;
    for (const auto &[id, o] : opened_) {
        if ((!o->served() || o->unrecorded()) && o->next_try <= run_.time->now()) {
            waiting.push_back(o);
        }
    }
    for (const auto &o : waiting) {
        const auto mine = co_await turn::of(free_, o);
        if (o->gone) {
            continue;
        }
        if (!o->served()) {
            co_await resume(o, all);
        } else if (o->unrecorded()) {
            co_await record(o);
        }
    }
}

/// In the opening's turn.
task<void> opened_points::resume(std::shared_ptr<opening> o, bool all) {
    const auto copy = how_.copy();
    if (paused_ || commands_.ending() || !copy) {
        co_return;
    }
    const std::string &id = o->record().id;
    const interval_id point = o->record().point;
    const std::vector<replica_point> there = copy->points();
    result<> done;
    if (std::ranges::find(there, point, &replica_point::id) != there.end()) {
        done = co_await o->serve(run_, served_by(), copy, false);
        if (done) {
            log::info("group {}: point {}, opened as {}, is served again", how_.group, point.value,
                      id);
        }
    } else if (all) {
        log::warning("group {}: opened point {} is closed, for its point {} is gone{}", how_.group,
                     id, point.value,
                     o->record().writable ? ", and what was written to it with it" : "");
        done = co_await drop(o);
    }
    if (!done) {
        o->next_try = run_.time->now() + try_again_after;
        const std::string why = done.error().text();
        if (std::exchange(o->trouble, why) != why) {
            log::warning("group {}: point {}, opened as {}, is not served: {}; tried again",
                         how_.group, point.value, id, why);
        }
    }
}

// ---- what it says
// -----------------------------------------------------------------------------------

void opened_points::tell_suspect(interval_id upto) {
    for (const auto &[id, o] : opened_) {
        if (o->record().point <= upto && !std::exchange(o->suspect_said, true)) {
            log::error("group {}: point {}, opened as {}, is suspect now: somebody else changed "
                       "the images after it was "
                       "made, so it may show what the primary never had. `farshore close {}`, and "
                       "open a newer one",
                       how_.group, o->record().point.value, id, id);
        }
    }
}

std::vector<opened_point> opened_points::list() const {
    std::vector<opened_point> out;
    for (const auto &[id, o] : opened_) {
        out.push_back(o->view(how_.group));
    }
    return out;
}

std::vector<std::shared_ptr<block_device>> opened_points::devices(const std::string &id) const {
    const auto at = opened_.find(id);
    return at == opened_.end() ? std::vector<std::shared_ptr<block_device>>{}
                               : at->second->devices();
}

double opened_points::oldest_seconds() const {
    double oldest = 0;
    for (const auto &[id, o] : opened_) {
        oldest = std::max(oldest, seconds_of(run_.time->now() - o->since));
    }
    return oldest;
}

std::string opened_points::holding() const {
    if (opened_.empty()) {
        return "";
    }
    std::string text = "open points hold it:";
    for (const auto &[id, o] : opened_) {
        text += fmt::format(" {} (point {}, for {:.0f} s)", id, o->record().point.value,
                            seconds_of(run_.time->now() - o->since));
    }
    return text + "; `farshore close ID` gives their space back";
}

} // namespace farshore
