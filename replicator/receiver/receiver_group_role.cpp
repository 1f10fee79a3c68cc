// A group at the DR site and its role there: promotion, its end, its undoing, and what it says when
// sites meet. What a step needs and leaves is roles/role_steps.hpp; whoever serves the volumes asks
// serving().
//
// A change of role, in this order:
//   no session any more, and none begins
//   everything that is durable is applied           (promotion)
//   one durable write: the role                     a crash before it: nothing happened
//   the copy is closed and opened as the role says  a crash before its end: the next start does it
//
// Thread: home.

#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_group.hpp"
#include "replicator/receiver/receiver_session.hpp"
#include "replicator/roles/role_steps.hpp"
#include "replicator/session/heartbeat.hpp"
#include "replicator/session/trust.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {
namespace {

/// A primary that lives is heard in this time.
constexpr duration primary_listened_for = 2 * heartbeat_interval + heartbeat_interval / 2;
constexpr duration heard_every = std::chrono::milliseconds(100);

/// A copy that was fed by a sender that says nothing of roles has a lineage that nobody told.
result<role_state> with_lineage(role_state s, generation_id untold) {
    if (s.ancestry.blank()) {
        FS_TRY(first, lineage().child(untold, {}));
        s.ancestry = std::move(first);
    }
    return s;
}

std::string words_of_meeting(meeting_outcome outcome) {
    using o = meeting_outcome;
    switch (outcome) {
    case o::fenced:
        return "this site was promoted and serves a newer generation: the sender's site is fenced, "
               "`farshore reverse` there makes it follow";
    case o::waits:
        return "this site serves, and the sender's site is fenced: `farshore reverse` there makes "
               "it follow";
    case o::split_brain:
        return "both sites were promoted by themselves and serve: each goes on. `farshore reverse "
               "--keep there` at the one whose content does not count makes it follow, and keeps "
               "its content as a point";
    case o::unknown_ancestry:
        return "the sites know nothing of each other's newest generation: one was put back. "
               "`farshore reverse --keep there` at the one that does not serve makes it follow";
    case o::contradiction:
    case o::unrelated:
        return "the sites tell different histories of the group: one of them was set up anew, or "
               "is another group's. Pair them anew (`farshore unpair`, `invite`, `join`) if the "
               "copy here may be compared with what the sender has";
    case o::two_serving:
        return "both sites serve the same generation, which can't be: a site was copied or put "
               "back. `farshore reverse --keep there` at the one whose content does not count";
    case o::clone:
        return "the sender is not the one that this copy follows, but a copy of it";
    case o::no_source:
        return "neither site serves: `farshore promote` at the one whose content counts";
    case o::not_used:
        return "a role that was offered was not taken, and will never be: the site that offered it "
               "goes on";
    case o::handed_over:
        return "the role was handed over: the site that took it serves, and the other follows";
    case o::follows:
        break;
    }
    return "the roles of the sites don't fit";
}

} // namespace

bool receiver_group::wants_to_serve() const {
    return role_.kept != nullptr && role().role != site_role::following;
}

std::optional<wire::site_claim> receiver_group::claim() const {
    return role_.kept != nullptr ? std::optional(claim_message(role())) : std::nullopt;
}

task<result<>> receiver_group::forget_lineage() {
    if (role_.kept == nullptr || role().role != site_role::following || role().ancestry.blank()) {
        co_return result<>{};
    }
    co_return co_await role_.kept->change([](group_role &r) -> result<> {
        r.state.ancestry = {};
        return {};
    });
}

/// What a meeting makes of this site, durably.
task<result<>> receiver_group::store_meeting(const meeting &m, const role_state &theirs) {
    const role_state mine = role();
    if (options_.met) {
        options_.met({m, meeting_side::second, theirs.ancestry});
    }
    role_state after = after_meeting(mine, m, meeting_side::second, theirs, theirs.void_upto);
    if (m.who == meeting_side::second && m.outcome == meeting_outcome::follows) {
        after.ancestry = theirs.ancestry;
    } else if (m.who == meeting_side::second && m.outcome == meeting_outcome::not_used) {
        after = offers_voided(after, theirs.offers);
    }
    if (after == mine) {
        co_return result<>{};
    }
    FS_CO_CHECK(co_await role_.kept->change([&](group_role &r) -> result<> {
        if (r.state != mine) {
            return fail(errc::busy, "the role of this site was changed meanwhile");
        }
        r.state = after;
        return {};
    }));
    if (options_.role_changed) {
        options_.role_changed();
    }
    co_return result<>{};
}

task<result<>> receiver_group::meet_before(const role_state &theirs) {
    if (role_.kept == nullptr) {
        co_return result<>{};
    }
    const meeting m = meet(claim_of(theirs), claim_of(role()));
    if (m.outcome == meeting_outcome::follows) {
        co_return result<>{}; // meet_sender() does it, with the hello
    }
    co_return co_await store_meeting(m, theirs);
}

// By what both sites said; of an older sender only that it serves.
task<receiver_group::meeting_end> receiver_group::meet_sender(std::optional<role_state> theirs) {
    if (role_.kept == nullptr) {
        co_return meeting_end{met::refused, failure_.text()};
    }
    if (!theirs) {
        co_return wants_to_serve()
            ? meeting_end{met::refused, words_of_meeting(meeting_outcome::fenced)}
            : meeting_end{met::follows, ""};
    }
    const role_state mine = role();
    const meeting m = meet(claim_of(*theirs), claim_of(mine));
    const bool follows = m.outcome == meeting_outcome::follows && m.who == meeting_side::second;
    if (auto stored = co_await store_meeting(m, *theirs); !stored) {
        co_return meeting_end{met::refused, stored.error().text()};
    }
    if (follows) {
        co_return meeting_end{met::follows, ""};
    }
    if (m.outcome == meeting_outcome::follows && serving()) {
        co_return meeting_end{met::serves, ""};
    }
    co_return meeting_end{met::refused, m.outcome == meeting_outcome::follows
                                            ? "the volumes are not served here yet"
                                            : words_of_meeting(m.outcome)};
}

// ---- changes
// ------------------------------------------------------------------------------------

task<result<>> receiver_group::check_turn() const {
    FS_CO_CHECK(check_served());
    if (role_.kept == nullptr || !copy_) {
        co_return fail(errc::not_found,
                       fmt::format("group \"{}\" has no copy at this site yet", name()));
    }
    if (role_.turning) {
        co_return fail(errc::busy,
                       fmt::format("the role of group \"{}\" is being changed already", name()));
    }
    co_return result<>{};
}

// A primary that is connected and lives is not to be cut off by mistake.
task<result<>> receiver_group::primary_is_silent() const {
    const time_point from = run_.time->now();
    while (session_ && session_->live() && run_.time->now() < from + primary_listened_for) {
        if (session_->heard_at() > from) {
            co_return fail(
                errc::refused,
                fmt::format("group \"{}\": the site that serves, {}, is connected and lives. For a "
                            "move in order stop its clients, run `farshore wait {}` there, and "
                            "promote with `--force`: from then on its clients get errors",
                            name(), session_->address(), name()));
        }
        co_await run_.time->sleep_for(heard_every);
    }
    co_return result<>{};
}

task<result<>> receiver_group::end_following(progress_report progress) {
    drop_session("this site takes over");
    while (!commands_.ending() && !is_failed(phase_) && phase_ != group_phase::idle) {
        co_await changed_.wait();
    }
    co_return co_await reach("latest", std::move(progress));
}

/// The role, then the copy as it says.
task<result<>> receiver_group::turn(std::function<result<>(group_role &)> to) {
    FS_CO_CHECK(co_await role_.kept->change(std::move(to)));
    if (phase_ != group_phase::idle) { // the next opening does it
        co_return fail(errc::dead, fmt::format("group \"{}\" has its new role, and its copy is not "
                                               "open: it is opened as soon as it can be",
                                               name()));
    }
    step(group_event::turn);
    while (phase_ == group_phase::turning && !commands_.ending()) {
        co_await changed_.wait();
    }
    if (!copy_ || is_failed(phase_)) {
        co_return fail(errc::dead,
                       fmt::format("group \"{}\" has its new role, and its copy can't be opened "
                                   "now: {}; tried again by itself",
                                   name(), failure_.text()));
    }
    co_return result<>{};
}

task<void> receiver_group::turn_copy() {
    const auto closed = co_await run_on(run_.disk, [copy = copy_] { return copy->close(); });
    if (!closed) { // what it leaves is opened like after a crash
        log_.tell(log::level::warning, closed.error().text());
    }
    co_await reopen_copy();
}

// Called when the copy was opened, before anybody works on it.
task<result<>> receiver_group::finish_turn() {
    const group_role &r = **role_.kept;
    if (!copy_->served() && !r.leave_as.empty() && !wants_to_serve()) {
        FS_CO_CHECK(co_await role_.kept->change([](group_role &now) -> result<> {
            now.leave_as.clear();
            return {};
        }));
    }
    if (!copy_->served() || r.serving.back_to.value == 0) {
        co_return result<>{};
    }
    FS_CO_CHECK(co_await run_on(
        run_.disk, [copy = copy_, to = r.serving.back_to] { return copy->go_back_to(to); }));
    co_return co_await role_.kept->change([](group_role &now) -> result<> {
        now.serving.back_to = {};
        return {};
    });
}

// ---- commands
// -----------------------------------------------------------------------------------

task<result<promote_outcome>> receiver_group::promote(std::string point, bool forced,
                                                      progress_report progress) {
    const commands_under_way::mark here(commands_);
    FS_CO_CHECK(co_await check_turn());
    const generation_id fresh = fresh_generation();
    const generation_id untold = fresh_generation();
    const auto judge = [&](const role_state &s, const content_claim &c) -> result<role_state> {
        FS_TRY(known, with_lineage(s, untold));
        return promoted(known, c, fresh, forced);
    };
    FS_CO_CHECK(judge(role(), {}));
    FS_CO_TRY(asked, resolve_point(point)); // before anything changes
    if (!forced) {
        FS_CO_CHECK(co_await primary_is_silent());
    }
    role_.turning = true;
    const std::shared_ptr<void> done(nullptr, [this](void *) { role_.turning = false; });
    FS_CO_CHECK(co_await end_following(std::move(progress)));
    FS_CO_TRY(
        chosen,
        resolve_point(point.empty() || point == "latest" ? point : std::to_string(asked.id.value)));
    if (chosen.suspect || chosen.damaged) {
        co_return fail(errc::refused,
                       fmt::format("group \"{}\": point {} is {}, and would be served as if it "
                                   "were good: `farshore points {}` lists the others",
                                   name(), chosen.id.value, chosen.suspect ? "suspect" : "damaged",
                                   name()));
    }
    const replica_position at = copy_->position();
    const bool shown = at.applied.interval == chosen.id && !at.in_catch_up;
    content_claim claim;
    claim.common = claim.shows = {at.applied.stream, chosen.id};
    FS_CO_CHECK(co_await turn([&](group_role &r) -> result<> {
        FS_TRY(next, judge(r.state, claim));
        r.state = next;
        r.serving = {run_.time->wall(), chosen.id, shown ? interval_id{} : chosen.id};
        r.leave_as.clear();
        return {};
    }));
    if (!copy_->served()) {
        co_return fail(errc::dead, fmt::format("group \"{}\" is promoted, and its copy is not "
                                               "ready to be served: it will be by itself",
                                               name()));
    }
    log::warning("group {}: promoted: generation {}, from point {} of {} on", name(),
                 text_of(fresh), chosen.id.value, to_rfc3339(chosen.time));
    promote_outcome out;
    out.group = name();
    out.point = info_of(chosen);
    out.generation = text_of(fresh);
    out.start = options_.config.start;
    out.nothing_lost = exposure_.covered == chosen.id && chosen.id.value != 0;
    co_return out;
}

// ---- switchover

/// What the images show, which all that is durable has to be.
result<content_claim> receiver_group::shown() const {
    const replica_position at = copy_->position();
    content_claim c;
    c.common = c.shows = at.applied;
    c.differs = at.in_catch_up || copy_->partial().has_value() || at.durable != at.applied;
    c.suspect = at.suspect.value != 0 && at.suspect >= at.applied.interval;
    return c;
}

void receiver_group::offered(const wire::role_offer &m) {
    const role_offer offer{m.number, generation_id{m.begins.value}, generation_id{m.parent.value},
                           m.barrier};
    tasks_.spawn(take_role(offer));
}

// What is not taken is void, before the other site is met again.
task<void> receiver_group::take_role(role_offer offer) {
    const commands_under_way::mark here(commands_);
    auto taken = co_await begin_offered(offer);
    if (taken) {
        log::warning("group {}: took over the role: generation {}, from barrier {} on", name(),
                     text_of(offer.begins), offer.barrier.interval.value);
        co_return;
    }
    log_.tell(log::level::error, "the role that was offered is not taken: " + taken.error().text(),
              "offer");
    if (role_.kept == nullptr || role().role == site_role::serving) {
        co_return; // it is written, and the copy is opened for it by itself
    }
    const auto voided = co_await role_.kept->change([&](group_role &r) -> result<> {
        r.state = offers_voided(r.state, offer.number);
        return {};
    });
    if (!voided) { // the next meeting does it
        log::warning("group {}: {}", name(), voided.error().text());
    }
    drop_session("the role that was offered is not taken");
}

task<result<>> receiver_group::begin_offered(const role_offer &offer) {
    FS_CO_CHECK(co_await check_turn());
    if (options_.may_serve) {
        FS_CO_CHECK(options_.may_serve(copy_->volumes()));
    }
    FS_CO_TRY(now, shown());
    FS_CO_CHECK(offer_accepted(role(), now, offer));
    role_.turning = true;
    const std::shared_ptr<void> done(nullptr, [this](void *) { role_.turning = false; });
    FS_CO_CHECK(co_await end_following({}));
    co_return co_await turn([&](group_role &r) -> result<> {
        FS_TRY(still, shown());
        FS_TRY(next, offer_accepted(r.state, still, offer));
        r.state = next;
        r.serving = {run_.time->wall(), offer.barrier.interval, interval_id{}};
        r.leave_as.clear();
        return {};
    });
}

task<result<>> receiver_group::heed_role() {
    const bool due = role_.kept != nullptr && role().role == site_role::following &&
                     !role_.turning && copy_ && copy_->served() && phase_ == group_phase::idle;
    if (!due) {
        co_return result<>{};
    }
    const commands_under_way::mark here(commands_);
    role_.turning = true;
    const std::shared_ptr<void> done(nullptr, [this](void *) { role_.turning = false; });
    co_return co_await turn([](group_role &r) -> result<> {
        r.serving = {};
        return {};
    });
}

task<result<>> receiver_group::settle() {
    const commands_under_way::mark here(commands_);
    FS_CO_CHECK(co_await check_turn());
    FS_CO_CHECK(co_await role_.kept->change([](group_role &r) -> result<> {
        FS_TRY(next, committed(r.state));
        r.state = next;
        return {};
    }));
    copy_->let_points_go();
    co_return result<>{};
}

// Whoever serves the volumes has ended that.
task<result<>> receiver_group::follow_again(role_step step, std::string leave_as) {
    const commands_under_way::mark here(commands_);
    FS_CO_CHECK(co_await check_turn());
    FS_CO_CHECK(step(role()));
    role_.turning = true;
    const std::shared_ptr<void> done(nullptr, [this](void *) { role_.turning = false; });
    co_return co_await turn([&](group_role &r) -> result<> {
        FS_TRY(next, step(r.state));
        r.leave_as = leave_as + text_of(*r.state.ancestry.newest());
        r.state = next;
        r.serving = {};
        return {};
    });
}

task<result<>> receiver_group::discard() { return follow_again(discarded, "discarded-"); }
task<result<>> receiver_group::reverse(role_step step) {
    return follow_again(std::move(step), "diverged-");
}

std::optional<std::vector<wire::volume_entry>> receiver_group::fed() const {
    if (!copy_ || !is_served(phase_) || copy_->served() || wants_to_serve() || role_.turning) {
        return std::nullopt;
    }
    std::vector<wire::volume_entry> all;
    for (const replica_volume &v : copy_->volumes()) {
        all.push_back({v.name, v.size});
    }
    return all;
}

bool receiver_group::in_session(std::uint64_t id) const {
    return session_ && session_->live() && session_->greeting().session == id;
}

std::optional<served_copy> receiver_group::serving() const {
    const bool ready = copy_ && is_served(phase_) && copy_->served() && wants_to_serve() &&
                       (*role_.kept)->serving.back_to.value == 0;
    return ready ? std::optional(served_copy{copy_, role_.kept}) : std::nullopt;
}

std::optional<served_status> receiver_group::served_seen() const {
    if (!wants_to_serve()) {
        return std::nullopt;
    }
    served_status s;
    s.generation = role().ancestry.blank() ? "" : text_of(*role().ancestry.newest());
    s.since = (*role_.kept)->serving.since;
    s.point = std::to_string((*role_.kept)->serving.point.value);
    s.settled = role().trial == promotion_trial::none;
    s.heard_of = role().trial == promotion_trial::heard_of;
    s.fenced = role().role == site_role::fenced;
    return s;
}

} // namespace farshore
