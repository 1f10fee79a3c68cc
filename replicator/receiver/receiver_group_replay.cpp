// A group at the DR site between what is durable and what its images show: how far apply is behind,
// who waits for it, what keeps it from going on or from making points, and who is told.

#include "replicator/base/log.hpp"
#include "replicator/receiver/point_name.hpp"
#include "replicator/receiver/receiver_group.hpp"
#include "replicator/receiver/receiver_session.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr duration look_every = std::chrono::milliseconds(200);

} // namespace

// ---- replay
// ----------------------------------------------------------------------------------------

void receiver_group::begin_replay(const replica_position &at) {
    replay_until_ = at.durable.interval;
    replay_total_ = copy_->bytes_to_apply(replay_until_);
    replay_began_ = run_.time->now();
}

std::optional<replay_status> receiver_group::replay() const {
    if (!copy_ || copy_->position().applied.interval >= replay_until_) {
        return std::nullopt;
    }
    replay_status s;
    s.total_bytes = replay_total_;
    s.done_bytes = replay_total_ - std::min(replay_total_, copy_->bytes_to_apply(replay_until_));
    const double seconds = seconds_of(run_.time->now() - replay_began_);
    if (s.done_bytes > 0 && seconds > 0) {
        s.eta_seconds = seconds * static_cast<double>(s.total_bytes - s.done_bytes) /
                        static_cast<double>(s.done_bytes);
    }
    return s;
}

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
    if (!copy_ && failure_) {
        co_return fail(failure_->code, fmt::format("group \"{}\": {}", name(), failure_->context));
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
    const command_under_way here(commands_);
    while (!ending_) {
        const auto copy = copy_;
        if (copy && copy->position().applied.interval >= until) {
            co_return result<>{};
        }
        if (failure_ || apply_waits_) {
            co_return fail(errc::not_in_sync,
                           fmt::format("group \"{}\": the newest durable barrier is {}, and it "
                                       "can't be applied now: {}. "
                                       "`--applied` takes what the images show",
                                       name(), until.value,
                                       failure_ ? failure_->text() : apply_error_.value_or("")));
        }
        if (copy && progress) {
            progress(total - std::min(total, copy->bytes_to_apply(until)), total);
        }
        co_await applied_.wait_until(*run_.time, run_.time->now() + look_every);
    }
    co_return fail(errc::closed, "the receiver stops");
}

// ---- what keeps apply or points from going on, and who is told
// ---------------------------------------

/// Apply failed: told to whoever asks, here and at the primary, until it works again.
void receiver_group::apply_failed(error e) {
    const std::string words = with_open_points(e);
    tell(log::level::error, "what is durable can't be applied: " + words);
    apply_error_ = words;
    if (!is(e, errc::full) && !is_errno(e, ENOSPC)) {
        storage_failed(std::move(e));
        return;
    }
    apply_waits_ = true; // space: it may come back; the points that are there stay
    tell_sender();
}

void receiver_group::apply_worked() {
    apply_waits_ = false;
    if (std::exchange(apply_error_, std::nullopt)) {
        tell(log::level::info, "apply works again");
        last_error_.reset();
        tell_sender();
    }
}

/// A point that somebody forgot to close is the cure that the message about space doesn't know.
std::string receiver_group::with_open_points(const error &e) const {
    std::string text = e.text();
    if (!is(e, errc::full) || opened_.empty()) {
        return text;
    }
    text += "; open points hold it:";
    for (const auto &[id, entry] : opened_) {
        text += fmt::format(" {} (point {}, for {:.0f} s)", id, entry.view.point,
                            seconds_of(run_.time->now() - entry.since));
    }
    return text + "; `farshore close ID` gives their space back";
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

/// Of the sender's operator; empty: all is well.
std::string receiver_group::words_for_sender() const {
    return apply_error_ ? "the DR site can't write its copy: " + *apply_error_ : "";
}

void receiver_group::tell_sender() {
    if (session_) {
        session_->tell_soon(words_for_sender());
    }
}

/// Damage without a list of blocks: everything is compared. Who was told of it is the session, by
/// its count.
void receiver_group::tell_damage(const replica_position &at) {
    if (!session_ || at.damage_count <= damage_told_) {
        return;
    }
    damage_told_ = at.damage_count;
    wire::nak n;
    n.damage_count = at.damage_count;
    n.complete = false;
    session_->tell_soon(std::move(n));
}

/// An opening whose point became suspect goes on, for it may be in use; who reads the log is told
/// which.
void receiver_group::tell_suspect(const replica_position &at) {
    for (auto &[id, entry] : opened_) {
        if (entry.point <= at.suspect && !std::exchange(entry.suspect_said, true)) {
            log::error("group {}: point {}, opened as {}, is suspect now: somebody else changed "
                       "the images after it was "
                       "made, so it may show what the primary never had. `farshore close {}`, and "
                       "open a newer one",
                       name(), entry.point.value, id, id);
        }
    }
}

// ---- verify
// ----------------------------------------------------------------------------------------

// The key of the digests is the copy's for its life, so an answer is right whenever its barrier was
// made.
task<void> receiver_group::tell_verified(std::vector<verify_answer> answers) {
    const bool differs = std::ranges::any_of(answers, &verify_answer::differs);
    std::uint64_t counted = 0;
    if (differs && copy_) { // counted when it was applied
        counted = copy_->position().damage_count;
        log::error("group {}: verify found that the copy differs from the primary; no point is "
                   "made until it is healed",
                   name());
    }
    const auto session = session_;
    for (std::size_t i = 0; i < answers.size() && session;) {
        wire::verify_result v;
        v.interval = answers[i].at.value;
        for (; i < answers.size() && answers[i].at.value == v.interval; ++i) {
            const verify_answer &x = answers[i];
            v.items.push_back({x.entry.volume.value, x.entry.range.offset, x.entry.range.length,
                               x.equal, x.unseen});
            v.damage_count = x.differs() ? counted : v.damage_count;
        }
        damage_told_ = std::max(damage_told_, v.damage_count); // an ack must not overtake it
        co_await session->send(std::move(v));
    }
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

} // namespace farshore
