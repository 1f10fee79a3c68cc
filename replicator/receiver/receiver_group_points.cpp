// A group at the DR site: its recovery points, who waits for one, and its status.

#include "replicator/receiver/receiver_group.hpp"
#include "replicator/receiver/receiver_session.hpp"
#include "replicator/receiver/receiver_state.hpp"
#include "replicator/session/point_name.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

namespace farshore {
namespace {

constexpr duration look_every = std::chrono::milliseconds(200);

} // namespace

// An empty list would say that the points are gone.
result<> receiver_group::check_served() const {
    return !copy_ && is_failed(phase_)
               ? fail(errc::dead,
                      fmt::format("group \"{}\" is not served: {}", name(), failure_.text()))
               : result<>{};
}

point_info receiver_group::info_of(const replica_point &p) const {
    point_info i;
    i.id = std::to_string(p.id.value);
    i.time = p.time;
    i.arrival = p.arrival;
    i.age = clock_.age_of(p);
    i.kind = p.kind;
    i.name = p.name;
    i.note = p.note;
    i.pinned = p.pinned;
    i.hooks = p.hooks;
    i.suspect = p.suspect;
    i.damaged = p.damaged;
    return i;
}

result<replica_point> receiver_group::resolve_point(const std::string &text) const {
    FS_TRY(wanted, parse_point_name(text));
    FS_CHECK(check_served());
    const std::vector<replica_point> all = copy_ ? copy_->points() : std::vector<replica_point>{};
    if (all.empty()) {
        return fail(errc::not_found, fmt::format("group \"{}\" has no complete point yet", name()));
    }
    if (std::holds_alternative<point_latest>(wanted)) {
        return all.back(); // who opens it says what is wrong with it, if it is suspect
    }
    if (std::holds_alternative<point_latest_app>(wanted)) {
        const auto at = std::ranges::find(all.rbegin(), all.rend(), "app", &replica_point::kind);
        if (at == all.rend()) {
            return fail(errc::not_found,
                        fmt::format("group \"{0}\" keeps no point that the applications agreed to: "
                                    "`farshore bookmark {0} NAME --app` at the primary makes one",
                                    name()));
        }
        return *at;
    }
    if (const auto *id = std::get_if<point_by_id>(&wanted)) {
        const auto at = std::ranges::find(all, interval_id{id->id}, &replica_point::id);
        if (at == all.end()) {
            return fail(
                errc::not_found,
                fmt::format("group \"{}\" keeps no point {}; `farshore points {}` lists them",
                            name(), id->id, name()));
        }
        return *at;
    }
    if (const auto *label = std::get_if<point_by_label>(&wanted)) {
        const auto newest_first = std::views::reverse(all);
        const auto at = std::ranges::find(newest_first, label->name, &replica_point::name);
        if (at == newest_first.end()) {
            return fail(errc::not_found,
                        fmt::format("group \"{}\" keeps no bookmark \"{}\"; `farshore points {}` "
                                    "lists its points",
                                    name(), label->name, name()));
        }
        return *at;
    }
    std::vector<dated_point> dated;
    for (const replica_point &p : all) {
        dated.push_back({p.time, clock_.age_of(p)});
    }
    const auto chosen = choose_point(wanted, dated);
    if (!chosen) {
        return fail(errc::not_found,
                    fmt::format("group \"{}\" keeps no point that old; the oldest is {} of {}",
                                name(), all.front().id.value, to_rfc3339(all.front().time)));
    }
    return all[*chosen];
}

result<open_replica_point> receiver_group::open_devices(const std::string &point) {
    FS_TRY(p, resolve_point(point));
    return copy_->open_point(p.id);
}

task<result<opened_point>> receiver_group::open_point(open_request wanted) {
    FS_CO_TRY(p, resolve_point(wanted.point));
    std::optional<interval_id> since;
    if (!wanted.since.empty()) {
        FS_CO_TRY(older, resolve_point(wanted.since));
        since = older.id;
    }
    co_return co_await openings_.open(std::move(p), std::move(wanted), since);
}

seed_target receiver_group::seed() const {
    const receiver_group_config &c = options_.config;
    return {.group = name(),
            .state = name_of(status().state),
            .copy = copy_ != nullptr || is_failed(phase_),
            .connected = connected(),
            .directory = c.replica,
            .targets = c.targets};
}

// ---- waiting for one
// --------------------------------------------------------------------------------

// `latest` is the newest durable barrier, always. So is a time after the one that the images show,
// an id after theirs, and an age: what is not applied yet may be as old.
result<bool> receiver_group::wants_all_durable(const std::string &point) const {
    FS_TRY(wanted, parse_point_name(point));
    const replica_position at = copy_->position();
    if (const auto *id = std::get_if<point_by_id>(&wanted)) {
        return id->id > at.applied.interval.value && id->id <= at.durable.interval.value;
    }
    const auto *time = std::get_if<point_by_time>(&wanted);
    return time == nullptr || time->time >= at.applied_time;
}

task<result<>> receiver_group::reach(std::string point, progress_report progress) {
    if (!copy_ && is_failed(phase_)) {
        co_return fail(failure_.code, fmt::format("group \"{}\": {}", name(), failure_.context));
    }
    if (!copy_) {
        co_return result<>{}; // who opens says so
    }
    FS_CO_TRY(all, wants_all_durable(point));
    if (!all) {
        co_return result<>{};
    }
    const interval_id until = copy_->position().durable.interval;
    const std::uint64_t total = copy_->bytes_to_apply(until);
    const commands_under_way::mark here(commands_);
    while (!commands_.ending()) {
        const auto copy = copy_;
        if (copy && copy->position().applied.interval >= until) {
            co_return result<>{};
        }
        if (is_failed(phase_) || stage_.waits()) {
            co_return fail(errc::not_in_sync,
                           fmt::format("group \"{}\": the newest durable barrier is {}, and it "
                                       "can't be applied now: {}. "
                                       "`--applied` takes what the images show",
                                       name(), until.value,
                                       is_failed(phase_) ? failure_.text() : stage_.words()));
        }
        if (copy && progress) {
            progress(total - std::min(total, copy->bytes_to_apply(until)), total);
        }
        co_await wait_applied(run_.time->now() + look_every);
    }
    co_return fail(errc::closed, "the receiver stops");
}

std::optional<std::string> receiver_group::held_back() const {
    if (!copy_) {
        return std::nullopt;
    }
    const replica_position at = copy_->position();
    if (!at.damaged) {
        return std::nullopt;
    }
    return fmt::format(
        "the copy differs from the primary ({}): no point is made until it is healed from there",
        at.trouble.empty() ? "found before the receiver was started" : at.trouble);
}

// ---- status
// ----------------------------------------------------------------------------------------

receiver_group_status receiver_group::status() const {
    receiver_group_status s;
    s.name = name();
    s.connected = connected();
    s.bytes_wire = wire_bytes_before_ + (session_ ? session_->wire_bytes() : 0);
    s.bytes_applied = stage_.bytes_applied();
    s.journal_limit_bytes = options_.config.journal_bytes_max;
    s.error = said_.last_error;
    s.opened = {openings_.size(), openings_.oldest_seconds()};
    s.apply_waits = stage_.waits();
    s.wrong_bases = stage_.wrong_bases();
    if (const auto skew = clock_.warning()) {
        s.warnings.push_back(*skew);
    }
    s.replay = copy_ ? stage_.replay() : std::nullopt;
    const replica_position at = copy_ ? copy_->position() : replica_position{};
    s.serving = served_seen();
    s.role.generation = role_.kept != nullptr ? generation_of(role()) : std::nullopt;
    s.state = state_of(receiver_state_facts{.failed = is_failed(phase_),
                                            .serves = s.serving.has_value(),
                                            .copy = copy_ != nullptr,
                                            .replaying = s.replay.has_value(),
                                            .applied = at.applied.interval.value != 0,
                                            .in_catch_up = at.in_catch_up});
    if (!copy_) {
        if (s.state == receiver_state::failed) {
            s.error = failure_.text();
        }
        return s;
    }
    s.held_back = held_back();
    if (!stage_.words().empty()) {
        s.error = "what is durable can't be applied: " + stage_.words();
    } else if (!s.error) {
        s.error = s.held_back;
    }
    if (s.state == receiver_state::failed) {
        s.error = failure_.text();
    }
    s.journal_used_bytes = copy_->used_bytes();
    if (at.durable.interval.value != 0) {
        s.durable_barrier = barrier_info{at.durable.interval, at.durable_time};
    }
    if (at.applied.interval.value != 0) {
        s.applied_barrier = barrier_info{at.applied.interval, at.applied_time};
    }
    const points_overview seen = copy_->overview();
    s.points = seen.points;
    s.suspect_points = seen.suspect;
    s.damaged_points = seen.damaged;
    s.scrub = scrub_.status();
    s.tests = tests_seen();
    if (seen.oldest) {
        s.oldest_point = info_of(*seen.oldest);
        s.newest_point = info_of(*seen.newest);
    }
    for (const replica_volume &v : copy_->volumes()) {
        s.volumes.push_back({v.name, v.size});
    }
    return s;
}

} // namespace farshore
