// The running group: journal and apply. Commits are in replica_commit.cpp, space and retention in
// replica_space.cpp, points in replica_points.cpp.

#include "replicator/replica/replica_group.hpp"

#include "replicator/base/log.hpp"
#include "replicator/replica/label_text.hpp"
#include "replicator/replica/replica_impl.hpp"
#include "replicator/replica/space_error.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
const std::vector<replica_volume> &replica_group::volumes() const { return impl_->volumes; }
std::array<std::byte, 16> replica_group::identity() const { return impl_->identity; }
std::uint64_t replica_group::used_bytes() const { return impl_->used_bytes(); }

replica_position replica_group::position() const {
    const impl &i = *impl_;
    replica_position p;
    const auto durable = i.journal->durable();
    const auto durable_time = durable ? i.journal->time_of(durable->interval) : std::nullopt;
    const std::scoped_lock lock(i.mutex);
    p.applied = i.applied.position;
    p.durable = durable && durable->interval > p.applied.interval ? *durable : i.applied.position;
    if (!i.known.points.empty()) {
        p.newest_kept = i.known.seen(i.known.points.back());
    }
    if (const auto newest = i.known.newest_good()) {
        p.newest_point = i.known.seen(i.known.points[*newest]);
    }
    p.applied_time = i.applied.time;
    p.durable_time =
        p.durable == p.applied ? i.applied.time : durable_time.value_or(i.applied.time);
    p.suspect = i.known.suspect;
    p.suspect_time = i.known.suspect_time;
    p.trouble = i.trouble;
    p.damage_count = i.applied.damage_count + i.reported_damage;
    p.damaged = i.applied.healed_count < p.damage_count;
    p.in_catch_up = p.damaged || (p.applied.interval.value != 0 && !i.applied.consistent);
    return p;
}

result<> replica_group::impl::check_alive() const {
    const std::scoped_lock lock(mutex);
    return dead.empty()
               ? result<>()
               : fail(errc::dead, options.state_directory + ": stopped after a failure: " + dead);
}

std::unexpected<error> replica_group::impl::die(error e) {
    const std::scoped_lock lock(mutex);
    if (dead.empty()) {
        dead = e.text();
    }
    return std::unexpected(std::move(e));
}

/// The newest complete interval, durable or not, applied or not.
stream_position replica_group::impl::last_known() const {
    const auto last = journal->last();
    const std::scoped_lock lock(mutex);
    return last && last->position.interval > applied.position.interval ? last->position
                                                                       : applied.position;
}

/// Within a stream no interval may be missing: the next one's deltas would stand on it.
result<> replica_group::impl::check_order(const frame_header &header) const {
    const stream_position last = last_known();
    const bool follows = header.stream == last.stream ? header.interval == next(last.interval)
                                                      : header.interval > last.interval;
    if (!follows) {
        return fail(errc::invalid, fmt::format("interval {} of stream {:x} after {} of {:x}",
                                               header.interval.value, header.stream.value,
                                               last.interval.value, last.stream.value));
    }
    return {};
}

result<> replica_group::impl::check_verify(bytes_view frame) const {
    FS_TRY(parsed, parse_frame(frame));
    FS_TRY(b, parse_barrier(parsed.payload));
    for (const verify_entry &v : b.verify) {
        if (v.volume.value >= volumes.size() || v.range.end() > volumes[v.volume.value].size) {
            return fail(errc::invalid, "barrier that asks to compare what no volume has");
        }
    }
    return {};
}

/// All that a sender may do wrong with a frame.
result<> replica_group::impl::check_frame(bytes_view frame) const {
    FS_CHECK(journal->check(frame));
    FS_TRY(header, parse_frame_header(frame));
    if (header.arrival != wall_time{}) {
        return fail(errc::invalid, "a frame that says by itself when it arrived");
    }
    if (!journal->incomplete()) {
        FS_CHECK(check_order(header));
    }
    return header.type == frame_type::barrier ? check_verify(frame) : result<>{};
}

result<> replica_group::append(bytes_view frame, wall_time arrival) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    if (i.served) {
        return fail(errc::refused, i.options.state_directory + ": it is served, and takes nothing");
    }
    FS_CHECK(blame(fault::peer, i.check_frame(frame)));
    FS_TRY(header, parse_frame_header(frame));
    if (auto room = i.make_room(frame.size(), append_limit_of(i.options.journal_bytes_max));
        !room) {
        static_cast<void>(i.journal->abandon_partial().has_value());
        const std::scoped_lock lock(i.mutex);
        i.append_starved = true;
        return room;
    }
    const bool stamped = header.type == frame_type::barrier && arrival > wall_time{};
    return i.journal->append(stamped ? with_arrival(frame, arrival).view() : frame);
}

result<> replica_group::abandon_partial() { return impl_->journal->abandon_partial(); }

std::optional<std::pair<stream_position, std::uint32_t>> replica_group::partial() const {
    const auto open = impl_->journal->incomplete();
    return open ? std::optional(std::pair(open->position, open->next_index)) : std::nullopt;
}

// What is durable in the journal is worth as much as the images that it will be applied to.
result<> replica_group::sync_journal() {
    FS_CHECK(impl_->check_alive());
    if (auto named = impl_->core->images().check_named(); !named) {
        return impl_->die(named.error());
    }
    return impl_->journal->sync();
}

result<std::optional<std::uint64_t>> replica_group::keep_loan(interval_id user, bytes_view blocks) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    if (i.used_bytes() + blocks.size() > append_limit_of(i.options.journal_bytes_max)) {
        return std::nullopt;
    }
    return i.loans->keep(user, blocks);
}

std::uint64_t replica_group::loan_slots() const { return impl_->loans->slots(); }
bool replica_group::loans_crowded() const { return impl_->loans->crowded(); }

result<apply_outcome> replica_group::impl::apply_once() {
    {
        const std::scoped_lock lock(mutex);
        for (; reported_damage > 0; --reported_damage) {
            apply_stage->add_damage();
            applied.damage_count += 1;
        }
    }
    const auto durable = journal->durable();
    FS_TRY(step, apply_stage->apply(durable ? durable->interval : interval_id{}));
    apply_outcome outcome;
    outcome.intervals = step.finished.size();
    outcome.bytes_written = step.bytes_written;
    outcome.damaged = std::move(step.damaged);
    outcome.undecoded = std::move(step.undecoded);
    outcome.verified = std::move(step.verified);
    const std::scoped_lock lock(mutex);
    for (const applied_state &state : step.finished) {
        applied = state;
        uncommitted = true;
        if (state.point) {
            known.points.push_back({state.position.interval, state.time, state.arrival});
            if (state.label) {
                put_label(known.points.back(), *state.label);
            }
        }
    }
    outcome.applied = applied.position;
    return outcome;
}

result<apply_outcome> replica_group::apply() {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    if (i.served) {
        return apply_outcome{0, position().applied, 0, {}, {}, {}};
    }
    if (!suspicion_durable()) { // somebody waits for it, and a step may last
        if (auto noted = i.note_suspicion(); !noted) {
            return i.die(noted.error());
        }
    }
    if (!i.apply_stage->inside_step()) { // what apply writes from here on hides who wrote before
        auto changed = i.find_disturbed();
        if (!changed) {
            return i.die(changed.error());
        }
        if (!changed->empty()) {
            FS_CHECK(i.commit(true));
        }
    }
    const std::uint64_t counted = i.damage_counted();
    auto outcome = i.apply_once();
    if (!outcome && wants_space(outcome.error())) {
        FS_CHECK(i.free_committed());
        outcome = i.apply_once();
    }
    if (!outcome) {
        return wants_space(outcome.error()) ? std::move(outcome) : i.die(outcome.error());
    }
    if (outcome->intervals > 0) { // before anybody is told that the images show it
        if (auto named = i.core->images().check_named(); !named) {
            return i.die(named.error());
        }
    }
    if (std::ranges::any_of(outcome->verified, &verify_answer::differs)) {
        i.found_damage("verify compared it with the primary");
        if (auto marked = i.mark_different(outcome->verified); !marked) {
            log::error("{}: points that need what verify found different are not marked durably "
                       "yet: {}",
                       i.options.state_directory, marked.error().text());
        }
    } else if (outcome->damaged.empty() && i.damage_counted() > counted) {
        i.found_damage("a payload of the sender's could not be decoded: " + outcome->undecoded);
    }
    if (!outcome->damaged.empty()) {
        i.found_damage(fmt::format(
            "up to {} block(s) of the images are not what the primary's changes build on: "
            "somebody else wrote to them",
            outcome->damaged.size()));
    }
    if (!outcome->damaged.empty() || !outcome->undecoded.empty()) {
        FS_CHECK(i.commit(false)); // what is known to be wrong stays known
    }
    if (i.starved()) {
        FS_CHECK(i.free_committed());
    }
    return outcome;
}

/// Reported damage included: it is counted when the next interval is applied.
std::uint64_t replica_group::impl::damage_counted() const {
    const std::scoped_lock lock(mutex);
    return applied.damage_count + reported_damage;
}

/// Counted already; this says why.
void replica_group::impl::found_damage(std::string why) {
    const std::scoped_lock lock(mutex);
    trouble = std::move(why);
}

void replica_group::report_damage(std::string why) {
    const std::scoped_lock lock(impl_->mutex);
    ++impl_->reported_damage;
    impl_->trouble = std::move(why);
}

// Up to what the journal holds: it is applied to the same images.
void replica_group::suspect_unproved() {
    impl &i = *impl_;
    const std::int64_t now = i.files.now();
    const interval_id here = i.last_known().interval;
    const std::scoped_lock lock(i.mutex);
    if (!i.images_proved && here > i.known.suspect) {
        i.known.suspect = here;
        i.known.suspect_time = wall_time(duration(now));
        log::error("{}: the sender had more acknowledged than is here, and nothing proves that the "
                   "images are of the same "
                   "moment: the points of before are suspect",
                   i.options.state_directory);
    }
}

bool replica_group::suspicion_durable() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->known.suspect == impl_->committed.suspect;
}

std::uint64_t replica_group::bytes_to_apply(interval_id upto) const {
    interval_id applied;
    {
        const std::scoped_lock lock(impl_->mutex);
        applied = impl_->applied.position.interval;
    }
    return impl_->journal->bytes_between(applied, upto);
}

void replica_group::set_verify_key(const std::array<std::byte, 32> &key) {
    impl_->apply_stage->set_verify_key(key);
}

result<> replica_group::read_replica(volume_index volume, byte_range range, bytes_span out) {
    const impl &i = *impl_;
    if (volume.value >= i.volumes.size() || range.length != out.size() ||
        range.offset > i.volumes[volume.value].size ||
        range.length > i.volumes[volume.value].size - range.offset) {
        return fail(errc::invalid, "read beyond a volume");
    }
    return i.core->images().read(volume, range, out);
}

result<byte_range> replica_group::next_data(volume_index volume, std::uint64_t offset) {
    if (volume.value >= impl_->volumes.size()) {
        return fail(errc::invalid, "no such volume");
    }
    return impl_->core->images().next_data(volume, offset);
}

} // namespace farshore
