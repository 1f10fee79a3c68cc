#include "replicator/receiver/apply_stage.hpp"

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr duration commit_every = std::chrono::seconds(5);
constexpr duration retain_every = std::chrono::seconds(10);
constexpr duration again_after = std::chrono::seconds(5);
/// Durable intervals that the images lack; beyond, applying has the priority of clients' requests.
constexpr std::uint64_t backlog_max = 4;

} // namespace

apply_stage::apply_stage(apply_host &host, group_log &words, runtime run)
    : host_(host), log_(words), run_(run), packing_(words, run) {}

void apply_stage::begin(std::shared_ptr<replica_group> copy) {
    copy_ = std::move(copy);
    replay_until_ = copy_->position().durable.interval;
    replay_total_ = copy_->bytes_to_apply(replay_until_);
    replay_began_ = run_.time->now();
}

task<void> apply_stage::run() {
    packing_.begin(copy_);
    while (host_.serves()) {
        // Errors are of storage only: what the sender sent is damage.
        if (auto done = co_await once(); !done) {
            failed(done.error());
            if (host_.serves()) {
                co_await work_.wait_until(*run_.time, run_.time->now() + again_after);
            }
        }
    }
    co_await packing_.end();
}

void apply_stage::commit_soon() {
    next_commit_ = run_.time->now();
    wake();
}

task<result<>> apply_stage::once() {
    const auto copy = copy_;
    const replica_position before = copy->position();
    const bool behind = before.durable.interval.value > before.applied.interval.value + backlog_max;
    const bool marked = copy->suspicion_durable();
    auto applied =
        co_await run_on(behind ? run_.cpu_urgent : run_.cpu, [copy] { return copy->apply(); });
    if (!marked) {
        applied_.notify_all(); // a session waits for it
    }
    FS_CO_TRY(done, std::move(applied));
    worked();
    if (done.intervals == 0) {
        co_return co_await rest();
    }
    bytes_applied_ += done.bytes_written;
    wrong_bases_ += done.damaged.size();
    co_await tell(std::move(done), copy->position());
    applied_.notify_all();
    host_.moved();
    FS_CO_CHECK(co_await keep_house());
    host_.looked(copy->position());
    co_return result<>{};
}

// Nothing is left to apply.
task<result<>> apply_stage::rest() {
    const auto copy = copy_;
    host_.all_applied();
    const bool commits = run_.time->now() >= next_commit_;
    FS_CO_CHECK(co_await keep_house());
    if (commits) {
        host_.looked(copy->position());
    }
    if (!copy->suspicion_durable()) {
        co_return result<>{};
    }
    // Nothing to commit later than the next multiple of the commit time.
    co_await work_.wait_until(*run_.time, run_.time->now() + commit_every);
    co_return result<>{};
}

task<result<>> apply_stage::keep_house() {
    const auto copy = copy_;
    if (run_.time->now() >= next_commit_) {
        next_commit_ = run_.time->now() + commit_every;
        FS_CO_CHECK(co_await run_on(run_.disk, [copy] { return copy->commit(); }));
    }
    if (run_.time->now() >= next_retain_ || copy->crowded()) {
        next_retain_ = run_.time->now() + retain_every;
        FS_CO_CHECK(co_await run_on(
            run_.disk, [copy, now = host_.retention_time()] { return copy->retain(now); }));
    }
    co_return result<>{};
}

// ---- what it tells
// ----------------------------------------------------------------------------------

task<void> apply_stage::tell(apply_outcome done, const replica_position &at) {
    if (!done.damaged.empty()) {
        log::error("group {}: up to {} block(s) of the copy are not what the primary's changes "
                   "build on: somebody wrote to the replica images. They are repaired from the "
                   "primary; no point is made until then",
                   log_.group(), done.damaged.size());
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
        co_await host_.tell(std::move(n));
    }
    co_await tell_verified(std::move(done.verified), at.damage_count);
}

// The key of the digests is the copy's for its life, so an answer is right whenever its barrier was
// made. `damage_count`: a difference was counted when it was applied.
task<void> apply_stage::tell_verified(std::vector<verify_answer> answers,
                                      std::uint64_t damage_count) {
    if (std::ranges::any_of(answers, &verify_answer::differs)) {
        log::error("group {}: verify found that the copy differs from the primary; no point is "
                   "made until it is healed",
                   log_.group());
    }
    for (std::size_t i = 0; i < answers.size();) {
        wire::verify_result v;
        v.interval = answers[i].at.value;
        for (; i < answers.size() && answers[i].at.value == v.interval; ++i) {
            const verify_answer &x = answers[i];
            v.items.push_back({x.entry.volume.value, x.entry.range.offset, x.entry.range.length,
                               x.equal, x.unseen});
            v.damage_count = x.differs() ? damage_count : v.damage_count;
        }
        co_await host_.tell(std::move(v));
    }
}

// ---- what keeps it from going on
// --------------------------------------------------------------------

void apply_stage::failed(error e) {
    words_of_trouble_ = host_.words_of(e);
    log_.tell(log::level::error, "what is durable can't be applied: " + words_of_trouble_);
    if (!is(e, errc::full) && !is_errno(e, ENOSPC)) {
        trouble_ = trouble::failed;
        host_.storage_failed(std::move(e));
        return;
    }
    trouble_ = trouble::space;
    host_.words_changed();
}

void apply_stage::worked() {
    if (std::exchange(trouble_, trouble::none) == trouble::none) {
        return;
    }
    words_of_trouble_.clear();
    log_.tell(log::level::info, "apply works again");
    host_.works_again();
    host_.words_changed();
}

std::string apply_stage::words_for_sender() const {
    return trouble_ == trouble::none ? ""
                                     : "the DR site can't write its copy: " + words_of_trouble_;
}

std::optional<replay_status> apply_stage::replay() const {
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

} // namespace farshore
