// The running group: journal, apply, commit, retention, points.

#include "replicator/replica/replica_group.hpp"

#include "replicator/base/log.hpp"
#include "replicator/replica/replica_impl.hpp"
#include "replicator/replica/retention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace farshore {
namespace {

bool wants_space(const error &e) { return is(e, errc::full) || is_errno(e, ENOSPC); }

} // namespace

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
    if (!i.points.empty()) {
        const impl::kept_point &newest = i.points.back();
        p.newest_kept =
            replica_point{newest.id, newest.time, newest.arrival, 0, false, newest.id <= i.suspect};
        if (!p.newest_kept->suspect) {
            p.newest_point = p.newest_kept;
        }
    }
    p.applied_time = i.applied.time;
    p.durable_time =
        p.durable == p.applied ? i.applied.time : durable_time.value_or(i.applied.time);
    p.suspect = i.suspect;
    p.suspect_time = i.suspect_time;
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

/// The last eighth is for undo: a journal that took all space could not be applied any more.
std::uint64_t replica_group::impl::append_limit() const {
    return options.journal_bytes_max - options.journal_bytes_max / 8;
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
    FS_CHECK(blame(fault::peer, i.check_frame(frame)));
    FS_TRY(header, parse_frame_header(frame));
    if (auto room = i.make_room(frame.size(), i.append_limit()); !room) {
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
    if (i.used_bytes() + blocks.size() > i.append_limit()) {
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
            points.push_back({state.position.interval, state.time, state.arrival});
        }
    }
    outcome.applied = applied.position;
    return outcome;
}

/// Two commits free what the older commit record kept in journal and rollback log.
result<> replica_group::impl::free_committed() {
    {
        const std::scoped_lock lock(mutex);
        append_starved = false;
    }
    FS_CHECK(commit(true));
    return commit(true);
}

result<apply_outcome> replica_group::apply() {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
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

// Times of this stop alone, after the content is durable: a snapshot of the storage below may have
// the times of the last write over content that was not written back yet.
result<> replica_group::close() {
    FS_CHECK(commit());
    if (impl_->apply_stage->inside_step()) {
        return {};
    }
    FS_CHECK(impl_->note_touch());
    FS_CHECK(impl_->core->images().renew_times());
    return impl_->commit(true);
}

result<> replica_group::commit() {
    FS_CHECK(impl_->check_alive());
    return impl_->commit(false);
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

/// The images that apply did not write since the commit and that are not as it left them
/// (replica/image_cases.hpp).
result<std::string> replica_group::impl::find_disturbed() const {
    FS_TRY(found, core->images().stamps());
    std::string changed;
    for (std::uint16_t v = 0; v < found.size() && v < committed.images.size(); ++v) {
        const volume_index volume{v};
        if (core->images().has_times(volume) && !core->images().dirty(volume) &&
            disturbed(committed.images[v], found[v])) {
            changed += (changed.empty() ? "" : ", ") + core->images().path(volume);
        }
    }
    return changed;
}

/// Of such an image points that show what it holds are suspect, and everything is compared.
result<> replica_group::impl::check_undisturbed() {
    FS_TRY(changed, find_disturbed());
    if (changed.empty()) {
        return {};
    }
    log::error("{}: somebody else wrote to {} while the receiver runs: the points of before are "
               "suspect, and everything "
               "is compared",
               options.state_directory, changed);
    apply_stage->add_damage();
    const std::scoped_lock lock(mutex);
    applied.damage_count += 1;
    if (applied.position.interval.value !=
        0) { // else there is no point, and a time without one is no commit record
        suspect = std::max(suspect, applied.position.interval);
        suspect_time = wall_time(duration(files.now()));
    }
    trouble = changed + " was written by somebody else while the receiver runs";
    uncommitted = true;
    return {};
}

result<> replica_group::impl::commit(bool always) {
    if (auto named = core->images().check_named(); !named) {
        return die(named.error());
    }
    if (apply_stage && !apply_stage->inside_step()) {
        if (auto checked = check_undisturbed(); !checked) {
            return die(checked.error());
        }
    }
    // Once more after the last interval: then the older record needs no more than the newer one,
    // and journal and undo give all their space back.
    bool due = always || uncommitted || safe != committed.applied.interval;
    {
        const std::scoped_lock lock(mutex);
        due = due || suspect != committed.suspect;
    }
    if (!due || (apply_stage && apply_stage->inside_step())) {
        return {};
    }
    if (auto synced = core->images().sync(); !synced) {
        return die(synced.error());
    }
    commit_record record;
    record.sequence = committed.sequence + 1;
    const auto durable = journal->durable();
    {
        const std::scoped_lock lock(mutex);
        record.applied = applied.position;
        record.consistent = applied.consistent;
        record.applied_time = applied.time;
        record.applied_arrival = applied.arrival;
        record.damage_count = applied.damage_count + reported_damage;
        record.healed_count = applied.healed_count;
        record.durable =
            durable && durable->interval > applied.position.interval ? *durable : applied.position;
        if (!points.empty()) {
            record.point = points.back().id;
            record.point_time = points.back().time;
            record.point_arrival = points.back().arrival;
        }
        record.suspect = suspect;
        record.suspect_time = suspect_time;
    }
    auto left = core->images().stamps();
    if (!left) {
        return die(left.error());
    }
    record.images = std::move(*left);
    const segment_place history = core->history().end_place();
    record.undo_segment = history.segment;
    record.undo_offset = history.offset;
    const segment_place rollback = core->rollback().end_place();
    record.rollback_segment = rollback.segment;
    record.rollback_offset = rollback.offset;
    if (auto written = write_commit(record); !written) {
        return die(written.error());
    }
    uncommitted = false;
    // The records are good whether or not space comes back now.
    auto dropped = journal->drop_through(safe);
    if (dropped) {
        dropped = reclaim();
    }
    if (dropped) {
        dropped = loans->release(safe);
    }
    if (!dropped) {
        log::warning("{}: {}", options.state_directory, dropped.error().text());
    }
    return {};
}

result<> replica_group::impl::write_commit(commit_record record) {
    file &state = core->state_file();
    FS_CHECK(state.write_at(next_slot * commit_slot_bytes, encode_commit_slot(record)));
    FS_CHECK(state.sync_data());
    next_slot = 1 - next_slot;
    const std::scoped_lock lock(mutex);
    safe = committed.applied.interval;
    older_undo_segment = std::min(committed.undo_segment, record.undo_segment);
    older_rollback_segment = std::min(committed.rollback_segment, record.rollback_segment);
    committed = record;
    return {};
}

/// Whether commits are due for the sake of space: append had none, or undo that is needed up to the
/// next commits takes so much that points would have to go for it.
bool replica_group::impl::starved() const {
    constexpr std::uint64_t rollback_share = 8;
    const std::scoped_lock lock(mutex);
    return append_starved ||
           core->rollback().used_bytes() > options.journal_bytes_max / rollback_share;
}

/// Deletes the undo that neither a point nor a roll-back needs.
result<> replica_group::impl::reclaim() {
    interval_id needed;
    interval_id rolled_back_to;
    std::uint64_t segment = 0;
    std::uint64_t rollback_segment = 0;
    {
        const std::scoped_lock lock(mutex);
        segment = older_undo_segment;
        rollback_segment = older_rollback_segment;
        needed = points.empty() ? safe : std::min(safe, points.front().id);
        rolled_back_to = safe;
    }
    if (const auto held = core->held(); !held.empty()) {
        needed = std::min(needed, *held.begin());
    }
    FS_CHECK(core->history().drop_before(needed, segment));
    return core->rollback().drop_before(next(rolled_back_to), rollback_segment);
}

/// False when the oldest point must stay.
bool replica_group::impl::drop_oldest_point() {
    const auto held = core->held();
    const std::scoped_lock lock(mutex);
    if (points.size() <= 1 || held.contains(points.front().id)) {
        return false;
    }
    points.pop_front();
    return true;
}

namespace {
/// Retention keeps one to two parts in so many free for append: removing segments waits for the
/// disk, and append is what acknowledgements wait for.
constexpr std::uint64_t room_share = 32;
} // namespace

result<> replica_group::impl::make_room(std::uint64_t bytes, std::uint64_t limit) {
    while (used_bytes() + bytes > limit) {
        if (!drop_oldest_point()) {
            return fail(
                errc::full,
                fmt::format("{}: journal and undo take {} of {} bytes and nothing more may be "
                            "dropped; raise `journal` of this group",
                            options.state_directory, used_bytes(), options.journal_bytes_max));
        }
        FS_CHECK(reclaim());
    }
    return {};
}

result<> replica_group::retain(wall_time now) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    std::vector<spacing_rule> rules;
    for (const retention_rule &rule : i.options.retain) {
        rules.push_back({rule.spacing, rule.age});
    }
    {
        const auto held = i.core->held();
        const std::scoped_lock lock(i.mutex);
        std::vector<kept_candidate> candidates;
        for (const impl::kept_point &p : i.points) {
            candidates.push_back({p.id, p.time, held.contains(p.id), p.arrival});
        }
        const auto keep = points_to_keep(candidates, rules, now);
        std::deque<impl::kept_point> kept;
        for (std::size_t n = 0; n < keep.size(); ++n) {
            if (keep[n]) {
                kept.push_back(i.points[n]);
            }
        }
        i.points = std::move(kept);
    }
    FS_CHECK(i.reclaim());
    const std::uint64_t limit = i.append_limit() - 2 * i.options.journal_bytes_max / room_share;
    while (i.used_bytes() > limit && i.drop_oldest_point()) {
        FS_CHECK(i.reclaim());
    }
    return {};
}

bool replica_group::crowded() const {
    const impl &i = *impl_;
    return i.used_bytes() > i.append_limit() - i.options.journal_bytes_max / room_share;
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
    if (!i.images_proved && here > i.suspect) {
        i.suspect = here;
        i.suspect_time = wall_time(duration(now));
        log::error("{}: the sender had more acknowledged than is here, and nothing proves that the "
                   "images are of the same "
                   "moment: the points of before are suspect",
                   i.options.state_directory);
    }
}

bool replica_group::suspicion_durable() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->suspect == impl_->committed.suspect;
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

std::vector<replica_point> replica_group::points() const {
    const impl &i = *impl_;
    std::vector<replica_point> all;
    {
        const std::scoped_lock lock(i.mutex);
        for (const impl::kept_point &p : i.points) {
            all.push_back({p.id, p.time, p.arrival, 0, false, p.id <= i.suspect});
        }
    }
    return all;
}

std::vector<replica_point> replica_group::points_with_sizes() const {
    std::vector<replica_point> all = points();
    std::size_t at = 0; // the newest point before the record
    impl_->core->history().each([&](const undo_record &record) {
        const interval_id id = record.header.position.interval;
        while (at + 1 < all.size() && all[at + 1].id < id) {
            ++at;
        }
        if (!all.empty() && id > all[at].id) {
            all[at].undo_bytes += record.header.record_bytes();
        }
    });
    return all;
}

result<open_replica_point> replica_group::open_point(interval_id id, bool suspect_too) {
    impl &i = *impl_;
    open_replica_point opened;
    {
        const std::scoped_lock lock(i.mutex);
        const auto at = std::ranges::find(i.points, id, &impl::kept_point::id);
        if (at == i.points.end()) {
            return fail(errc::not_found,
                        fmt::format("{}: no point {}", i.options.state_directory, id.value));
        }
        opened.point = {at->id, at->time, at->arrival, 0, false, at->id <= i.suspect};
        if (opened.point.suspect && !suspect_too) {
            return fail(
                errc::refused,
                fmt::format("point {} is suspect: at {} the images were found changed by somebody "
                            "else, so it may "
                            "show what the primary never had. `--suspect` opens it nevertheless",
                            id.value, to_rfc3339(i.suspect_time)));
        }
        i.core->hold(id); // nothing it needs is dropped from here on
    }
    auto view = i.core->open_view(id, view_kind::point);
    i.core->release(id);
    FS_CHECK(view);
    opened.devices = i.core->devices(*view, i.volumes.size());
    return opened;
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
