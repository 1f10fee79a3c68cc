#include "replicator/receiver/scrub_desk.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/receiver/scrub_pace.hpp"
#include "replicator/replica/scrub_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr std::uint64_t piece_bytes = 4 * limits::MiB;
/// Images are compared in ranges of so much data: each makes the primary cut a barrier or two.
constexpr std::uint64_t compared_bytes = 64 * limits::MiB;
constexpr duration saved_every = std::chrono::seconds(30);
constexpr duration look_every = std::chrono::milliseconds(200);
constexpr duration again_after = std::chrono::seconds(10);
/// What somebody who asked waits for: a sender, and one that is connected to be in sync.
constexpr duration sender_patience = std::chrono::seconds(10);
constexpr duration sync_patience = std::chrono::minutes(1);
/// Of a daemon that finds a copy which was never read through, unless the period is shorter: that
/// copy is being made, or came from the primary not long ago.
constexpr duration first_pass_after = std::chrono::hours(1);
/// A disk that fails is not asked again at once.
constexpr duration after_failure = std::chrono::minutes(1);

constexpr unsigned offset_bits = 50; ///< of a place in the images (scrub_source.hpp)
std::uint16_t volume_of(std::uint64_t place) {
    return static_cast<std::uint16_t>(place >> offset_bits);
}
std::uint64_t offset_of(std::uint64_t place) {
    return place & ((std::uint64_t{1} << offset_bits) - 1);
}

} // namespace

/// Dropped when it is over.
struct scrub_desk::pass {
    std::shared_ptr<replica_group> copy;
    bool asked = false;
    scrub_record at; ///< how far it came
    std::uint64_t rate = 0;
    std::uint64_t damages_before = 0; ///< newest mark before it began
    std::uint64_t compare_from = 0;   ///< place up to which the images are compared
    std::uint64_t not_compared = 0;   ///< bytes read since
    bool broken = false;              ///< something in them can't be read: a compare would fail
    std::vector<std::pair<volume_index, byte_range>> different; ///< compared and not equal
    time_point saved{};
    time_point piece_began{};
    std::uint64_t piece_read = 0; ///< bytes of the last piece
    scrub_outcome out;

    void note(const noted_damage &n);
    void note_different();
};

void scrub_desk::pass::note(const noted_damage &n) {
    ++out.findings;
    if (out.damaged.size() >= limits::scrub_findings_max) {
        return;
    }
    scrub_finding f;
    f.what = name_of(n.part);
    if (n.run.count > 0) {
        const replica_volume &v = copy->volumes()[n.run.volume.value];
        f.volume = v.name;
        f.range.offset = n.run.block * block_bytes;
        f.range.length = std::min(n.run.count * block_bytes, v.size - f.range.offset);
    }
    f.interval = n.interval;
    f.point_count = n.point_count;
    for (const interval_id id : n.ids) {
        f.points.push_back(std::to_string(id.value));
    }
    out.damaged.push_back(std::move(f));
}

// By their marks, which say more; a difference that no kept point shows has none.
void scrub_desk::pass::note_different() {
    const auto marks = copy->marks_after(damages_before);
    for (const auto &[volume, range] : different) {
        bool marked = false;
        for (const noted_damage &n : marks) {
            const byte_range spoilt{n.run.block * block_bytes, n.run.count * block_bytes};
            if (n.part == scrub_part::images && n.run.volume == volume && spoilt.overlaps(range)) {
                marked = true;
                note(n);
            }
        }
        if (!marked) {
            const index_range blocks = blocks_of(range);
            note({.part = scrub_part::images, .run = {volume, blocks.first, blocks.count()}});
        }
    }
}

scrub_desk::scrub_desk(scrub_host &host, group_log &words, runtime run,
                       std::optional<duration> every)
    : host_(host), log_(words), run_(std::move(run)), every_(every) {}
scrub_desk::~scrub_desk() = default;

// ---- what others ask of it
// --------------------------------------------------------------------------

void scrub_desk::end() {
    ending_ = true;
    changed_.notify_all();
}

task<void> scrub_desk::suspend() {
    suspended_ = true;
    changed_.notify_all();
    while (pass_) {
        co_await changed_.wait();
    }
    last_.reset();
}

void scrub_desk::go_on() {
    suspended_ = false;
    changed_.notify_all();
}

bool scrub_desk::usable() const { return !ending_ && !suspended_; }

result<> scrub_desk::ask() {
    if (!host_.scrub_copy()) {
        return fail(errc::not_in_sync, "there is no copy that could be read now");
    }
    if (asked_) {
        return fail(errc::busy, "a scrub that was asked for is under way; `farshore status` says "
                                "how far it is");
    }
    asked_ = true;
    begin_anew_ = pass_ != nullptr;
    outcome_.reset();
    changed_.notify_all();
    return {};
}

task<result<scrub_outcome>> scrub_desk::wait_asked(progress_report progress) {
    while (asked_ && !ending_) {
        if (progress && pass_ && pass_->asked) {
            progress(pass_->at.bytes, std::max(total_bytes_, pass_->at.bytes));
        }
        co_await changed_.wait_until(*run_.time, run_.time->now() + look_every);
    }
    if (!outcome_) {
        co_return fail(errc::closed, "the receiver stops");
    }
    co_return *outcome_;
}

scrub_status scrub_desk::status() const {
    scrub_status s;
    s.running = pass_ != nullptr;
    const scrub_record at = pass_ ? pass_->at : last_.value_or(scrub_record{});
    s.done_bytes = at.bytes;
    s.total_bytes = std::max(total_bytes_, at.bytes); // it may have grown meanwhile
    if (at.finished != wall_time{}) {
        s.last_finished = at.finished;
    }
    if (const auto copy = host_.scrub_copy()) {
        s.damaged = copy->damages().size();
    }
    if (!waits_.empty()) {
        s.waits = waits_;
    }
    return s;
}

// ---- passes
// -----------------------------------------------------------------------------------------

// The copy is held only while pass_ is there, for suspend() waits until it is let go.
task<void> scrub_desk::run() {
    const time_point first =
        run_.time->now() + std::min(every_.value_or(duration{}), first_pass_after);
    while (!ending_) {
        duration pause{};
        {
            const auto copy = usable() ? host_.scrub_copy() : nullptr;
            const bool never = last_ && last_->began == wall_time{} && run_.time->now() < first;
            const auto due = copy && last_ && every_ && !never
                                 ? scrub_due_in(*last_, *every_, run_.time->wall())
                                 : std::optional(again_after);
            if (!copy && asked_) {
                outcome_ = fail(errc::closed, "the copy can't be read now");
                asked_ = false;
            }
            if (copy && !last_) {
                pass_ = std::make_unique<pass>();
                const auto read =
                    co_await run_on(run_.disk, [copy] { return copy->facts().scrubbed(); });
                last_ = read.value_or(scrub_record{}); // then it begins anew
                pass_.reset();
            } else if (copy && (asked_ || !due)) {
                co_await one_pass(copy);
                pause = last_ && last_->under_way ? after_failure : duration{};
            } else {
                pause = std::clamp(*due, look_every, again_after);
            }
        }
        changed_.notify_all();
        if (pause > duration{} && !asked_ && !ending_) {
            co_await changed_.wait_until(*run_.time, next_tick(run_.time->now(), pause));
        }
    }
}

// A pass that a restart, a failure or a stop cut short goes on where it was; one that is asked for
// begins anew.
task<void> scrub_desk::one_pass(std::shared_ptr<replica_group> copy) {
    pass_ = std::make_unique<pass>();
    pass &p = *pass_;
    p.copy = copy;
    p.asked = asked_;
    p.at = last_.value_or(scrub_record{});
    const std::uint64_t last_time = p.at.finished == wall_time{} ? 0 : p.at.bytes;
    if (p.asked || !p.at.under_way || p.at.part >= scrub_parts) {
        p.at = {.began = run_.time->wall(), .finished = p.at.finished, .under_way = true};
    }
    p.compare_from = p.at.part == static_cast<std::uint64_t>(scrub_part::images) ? p.at.place : 0;
    const auto marks = copy->damages();
    p.damages_before = marks.empty() ? 0 : marks.back().id;
    p.out.compared = true;
    total_bytes_ = 0;
    for (std::size_t part = 0; part < scrub_parts; ++part) {
        total_bytes_ += copy->scrub(static_cast<scrub_part>(part), 0)->total_bytes();
    }
    if (p.at.bytes == 0 && last_time > 0) { // images may be sparse
        total_bytes_ = std::min(total_bytes_, 2 * last_time);
    }
    p.rate = p.asked ? scrub_rate_asked : scrub_rate(total_bytes_, every_.value_or(duration(1)));
    result<> done = co_await save(p);
    while (done && p.at.part < scrub_parts) {
        done = co_await read_part(p, static_cast<scrub_part>(p.at.part));
        if (done) {
            ++p.at.part;
            p.at.place = 0;
        }
    }
    if (done) {
        p.at.under_way = false;
        p.at.finished = run_.time->wall();
        total_bytes_ = p.at.bytes;
    }
    if (auto saved = co_await save(p); done && !saved) {
        done = std::move(saved);
    }
    finish(p, done);
    pass_.reset();
}

void scrub_desk::finish(pass &p, const result<> &done) {
    waits_.clear();
    p.note_different();
    p.out.read_bytes = p.at.bytes;
    last_ = p.at;
    if (!done && !is(done.error(), errc::cancelled)) {
        log_.tell(log::level::error, "the scrub did not come to its end: " + done.error().text());
    } else if (done && p.out.findings > 0) {
        log_.tell(
            log::level::error,
            fmt::format("scrub: {} damaged piece(s) in {} bytes; `farshore points` marks what "
                        "needs them",
                        p.out.findings, p.out.read_bytes));
    }
    if (p.asked) {
        outcome_ = done ? result<scrub_outcome>(p.out)
                        : result<scrub_outcome>(std::unexpected(done.error()));
        asked_ = false;
    }
    begin_anew_ = false;
}

task<result<>> scrub_desk::save(pass &p) {
    p.saved = run_.time->now();
    co_return co_await run_on(
        run_.disk, [copy = p.copy, at = p.at] { return copy->facts().set_scrubbed(at); });
}

/// False: the pass is over for now. It has waited for apply, and for the rate.
task<bool> scrub_desk::give_way(const pass &p) {
    const std::uint64_t ns = 1'000'000'000;
    const time_point paced = p.piece_began + duration(p.piece_read * ns / p.rate);
    const auto stays = [&] { return usable() && !begin_anew_ && host_.scrub_copy() == p.copy; };
    while (stays() && run_.time->now() < paced) {
        co_await changed_.wait_until(*run_.time, paced);
    }
    while (stays() && host_.apply_behind()) {
        co_await changed_.wait_until(*run_.time, run_.time->now() + look_every);
    }
    co_return stays();
}

task<result<>> scrub_desk::read_part(pass &p, scrub_part part) {
    const std::shared_ptr<scrub_source> source = p.copy->scrub(part, p.at.place);
    bool end = false;
    while (!end) {
        if (!co_await give_way(p)) {
            co_return fail(errc::cancelled, "it goes on later");
        }
        p.piece_began = run_.time->now();
        FS_CO_TRY(read, co_await read_piece(p, *source, part));
        end = read;
        if (run_.time->now() - p.saved >= saved_every) {
            FS_CO_CHECK(co_await save(p));
        }
        changed_.notify_all();
    }
    co_return result<>{};
}

/// Whether it was the last one.
task<result<bool>> scrub_desk::read_piece(pass &p, scrub_source &source, scrub_part part) {
    const auto copy = p.copy;
    auto read = co_await run_on(
        run_.disk, [&source, copy]() -> result<std::pair<scrub_piece, std::vector<noted_damage>>> {
            FS_TRY(piece, source.next(piece_bytes));
            FS_TRY(noted, copy->note_damage(piece.damaged));
            return std::pair(std::move(piece), std::move(noted));
        });
    FS_CO_TRY(got, std::move(read));
    const auto &[piece, noted] = got;
    p.at.bytes += piece.read_bytes;
    p.piece_read = std::min(piece.read_bytes, 4 * piece_bytes); // an undo record is no more
    for (const noted_damage &n : noted) {
        p.note(n);
    }
    const std::uint64_t place = source.place();
    if (part != scrub_part::images) {
        p.at.place = place;
        co_return piece.end;
    }
    p.not_compared += piece.read_bytes;
    p.broken = p.broken || !piece.damaged.empty();
    if (piece.end || p.not_compared >= compared_bytes ||
        volume_of(place) != volume_of(p.compare_from) ||
        offset_of(place) - offset_of(p.compare_from) >= limits::compare_bytes_max) {
        FS_CO_CHECK(co_await compare_images(p, p.compare_from, place));
        p.at.place = p.compare_from = place;
    }
    co_return piece.end;
}

// A disk that can't read the range would fail apply, which compares: it is left out.
task<result<>> scrub_desk::compare_images(pass &p, std::uint64_t from, std::uint64_t upto) {
    p.not_compared = 0;
    if (std::exchange(p.broken, false)) {
        p.out.compared = false;
        p.out.why_not = "a part of the images can't be read";
        co_return result<>{};
    }
    const std::vector<replica_volume> volumes = p.copy->volumes();
    for (std::size_t v = volume_of(from); v < volumes.size() && v <= volume_of(upto); ++v) {
        std::uint64_t at = v == volume_of(from) ? offset_of(from) : 0;
        const std::uint64_t end =
            v == volume_of(upto) ? std::min(offset_of(upto), volumes[v].size) : volumes[v].size;
        while (at < end) {
            const std::uint64_t some = std::min(end - at, limits::compare_bytes_max);
            FS_CO_CHECK(
                co_await compare(p, volume_index{static_cast<std::uint16_t>(v)}, {at, some}));
            at += some;
        }
    }
    co_return result<>{};
}

// In the background it waits for a sender that is in sync; who asked is told that there was none.
task<result<>> scrub_desk::compare(pass &p, volume_index volume, byte_range range) {
    const time_point began = run_.time->now();
    const std::uint64_t counted = p.copy->position().damage_count;
    while (p.out.compared || !p.asked) {
        const auto done = co_await host_.compare(volume, range);
        if (done) {
            if (p.copy->position().damage_count > counted &&
                p.different.size() < limits::scrub_findings_max) {
                p.different.emplace_back(volume, range);
            }
            break;
        }
        p.out.why_not = done.error().context;
        if (is(done.error(), errc::unsupported)) {
            p.out.compared = false;
            break;
        }
        waits_ = "the images are compared when the primary can: " + done.error().context;
        const bool connected = host_.sender_connected();
        if (p.asked && run_.time->now() - began > (connected ? sync_patience : sender_patience)) {
            p.out.compared = false;
            break;
        }
        co_await changed_.wait_until(*run_.time,
                                     run_.time->now() + (p.asked ? look_every * 5 : again_after));
        if (!co_await give_way(p)) {
            co_return fail(errc::cancelled, "it goes on later");
        }
    }
    waits_.clear();
    co_return result<>{};
}

} // namespace farshore
