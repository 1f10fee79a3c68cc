#include "replicator/sender/verify_desk.hpp"

#include "dedupe/digest.hpp"
#include "replicator/base/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

namespace farshore {
namespace {

constexpr duration answer_timeout = std::chrono::minutes(2);
/// On the disk pool at a time; at most 32 MiB are read.
constexpr std::size_t ranges_each_job = 32;
/// What one barrier compares.
constexpr std::size_t ranges_each_barrier = 2048;
constexpr std::uint64_t bytes_each_barrier = 64 * limits::MiB;

/// Puts ranges into the open interval; returns those that should be holes and are none.
result<std::vector<pending_range>> add_ranges(capture_group &capture,
                                              std::span<const pending_range> ranges,
                                              const digest_function &digest) {
    std::vector<pending_range> no_holes;
    for (const pending_range &r : ranges) {
        if (!verify_run::is_hole(r)) {
            FS_CHECK(capture.add_verify(r, digest));
            continue;
        }
        FS_TRY(hole, capture.add_verify_hole(r));
        if (!hole) {
            no_holes.push_back(r);
        }
    }
    return no_holes;
}

} // namespace

verify_desk::verify_desk(std::string group, std::vector<std::string> volumes, runtime run,
                         pipeline &stream, site_link &site)
    : group_(std::move(group)), volumes_(std::move(volumes)), runtime_(std::move(run)),
      stream_(stream), site_(site) {}

verify_desk::~verify_desk() = default;

void verify_desk::end() {
    ending_ = true;
    answered_.notify_all();
}

// ---- what comes in -----------------------------------------------------------------------------

void verify_desk::on_cut(const interval &closed) {
    questions_.asked(closed.position().interval, closed.commit().verify);
    if (run_) {
        run_->on_cut(closed.position().interval, closed.commit().verify);
    }
}

result<> verify_desk::on_answer(const wire::verify_result &r) {
    FS_TRY(awaited, questions_.answered(r));
    if (awaited && run_ && run_->knows(interval_id{r.interval})) {
        run_->note_damage(r.damage_count, site_.damage_known());
        run_->on_result(r);
        answered_.notify_all();
    } else if (awaited) {
        on_late_answer(r);
    }
    return {};
}

// Of a run that ended without it. The DR site counted what differs and relies on its being
// repaired.
void verify_desk::on_late_answer(const wire::verify_result &r) {
    std::uint64_t bytes = 0;
    for (const wire::verify_item &item : r.items) {
        if (!item.equal && !item.unseen) {
            stream_.capture().mark_dirty(volume_index{static_cast<std::uint16_t>(item.volume)},
                                         {item.offset, item.length});
            bytes += item.length;
        }
    }
    if (bytes > 0) { // with other damage in the count, where that is stays unknown
        const std::uint64_t known = site_.damage_known();
        site_.on_damage(
            fmt::format("its copy differs: {} bytes, as a verify had asked that has ended", bytes),
            r.damage_count == known + 1 ? r.damage_count : known);
    }
}

void verify_desk::session_ended(const error &reason) {
    ++sessions_;
    if (run_) {
        run_->fail_with({make_error_code(errc::not_in_sync),
                         fmt::format("the session with the DR site ended ({})", reason.text())});
        answered_.notify_all();
    }
}

// ---- a run -------------------------------------------------------------------------------------

task<std::vector<pending_range>> verify_desk::take_ranges() {
    std::vector<pending_range> ranges;
    std::uint64_t bytes = 0;
    while (ranges.size() < ranges_each_barrier && bytes < bytes_each_barrier) {
        if (const auto where = run_->wants_data()) {
            const auto data = co_await run_on(runtime_.disk, [this, where] {
                return stream_.capture().next_data(where->volume, where->range.offset);
            });
            if (!data) {
                run_->fail_with(data.error());
                break;
            }
            run_->data_is(*data);
        }
        const std::vector<pending_range> more =
            run_->take(ranges_each_barrier - ranges.size(), bytes_each_barrier - bytes);
        for (const pending_range &r : more) {
            bytes += verify_run::is_hole(r) ? 0 : r.range.length;
        }
        ranges.insert(ranges.end(), more.begin(), more.end());
        if (more.empty() && !run_->wants_data()) {
            break;
        }
    }
    co_return ranges;
}

task<void> verify_desk::add(const std::vector<pending_range> &ranges) {
    for (std::size_t at = 0; at < ranges.size() && !run_->failure(); at += ranges_each_job) {
        const auto some =
            std::span(ranges).subspan(at, std::min(ranges_each_job, ranges.size() - at));
        const auto added = co_await run_on(
            runtime_.disk, [this, some] { return add_ranges(stream_.capture(), some, digest_); });
        if (!added) {
            run_->fail_with(added.error());
            co_return;
        }
        for (const pending_range &r : *added) {
            run_->no_hole(r);
        }
    }
}

task<void> verify_desk::compare_more() {
    const std::vector<pending_range> ranges = co_await take_ranges();
    co_await add(ranges);
    if (!ranges.empty() && !run_->failure()) {
        stream_.cut(true, true);
        run_->put_back_touched();
    }
}

// The DR site knows as well, and makes no point until a catch-up has brought it what is marked
// here.
void verify_desk::heal(const verify_run &run) {
    const std::vector<pending_range> wrong = run.to_heal();
    if (wrong.empty()) {
        return;
    }
    std::uint64_t bytes = 0;
    for (const pending_range &r : wrong) {
        stream_.capture().mark_dirty(r.volume, r.range);
        bytes += r.range.length;
    }
    site_.note_damage_known(run.damage_through());
    stream_.lose_order(
        fmt::format("verify found that the DR site's copy differs in {} range(s), {} bytes; they "
                    "are shipped again, and the DR site makes no point until then",
                    wrong.size(), bytes));
}

std::vector<std::uint64_t> verify_desk::sizes() const {
    std::vector<std::uint64_t> all;
    for (std::size_t i = 0; i < volumes_.size(); ++i) {
        all.push_back(stream_.capture().volume_size(volume_index{static_cast<std::uint16_t>(i)}));
    }
    return all;
}

/// Until run_ is done; it is over then, with an error when not all of it was compared.
task<result<std::unique_ptr<verify_run>>> verify_desk::walk(progress_report progress) {
    digest_ = [digester = std::make_shared<dedupe::digester>(site_.digest_key())](
                  bytes_view bytes) { return digester->of(bytes).bytes; };
    time_point heard = runtime_.time->now();
    std::uint64_t heard_bytes = 0;
    while (!run_->failure() && !run_->done() && !ending_) {
        if (!run_->waiting()) {
            co_await compare_more();
        }
        if (run_->waiting()) {
            co_await answered_.wait_until(*runtime_.time,
                                          runtime_.time->now() + std::chrono::seconds(1));
        }
        if (run_->done_bytes() != heard_bytes || !run_->waiting()) {
            heard = runtime_.time->now();
            heard_bytes = run_->done_bytes();
        } else if (runtime_.time->now() - heard > answer_timeout) {
            run_->fail_with({make_error_code(errc::timeout), "the DR site did not answer"});
        }
        if (progress) {
            progress(run_->done_bytes(), run_->total_bytes());
        }
    }
    auto over = std::move(run_);
    comparing_ = false;
    answered_.notify_all();
    heal(*over);
    site_.look_at_damage_said();
    if (over->failure()) {
        co_return std::unexpected(*over->failure());
    }
    if (ending_) {
        co_return fail(errc::closed, "the sender stops");
    }
    co_return over;
}

task<result<verify_outcome>> verify_desk::run(progress_report progress) {
    ++waiting_;
    while (comparing_ && !ending_) {
        co_await answered_.wait();
    }
    --waiting_;
    if (run_) {
        co_return fail(errc::busy,
                       fmt::format("a verify of group \"{}\" is running already", group_));
    }
    run_ = std::make_unique<verify_run>(sizes());
    FS_CO_TRY(over, co_await walk(std::move(progress)));
    verify_outcome out;
    out.group = group_;
    out.barrier = over->last_barrier();
    for (const pending_range &d : over->differences()) {
        out.differences.push_back({volumes_[d.volume.value], d.range});
    }
    out.equal = out.differences.empty();
    co_return out;
}

task<result<>> verify_desk::compare(pending_range range) {
    if (run_ || waiting_ > 0) {
        co_return fail(errc::busy, "the primary runs a verify");
    }
    run_ = std::make_unique<verify_run>(sizes(), range);
    comparing_ = true;
    auto over = co_await walk({});
    co_return over ? result<>() : std::unexpected(over.error());
}

task<void> verify_desk::answer(wire::compare_request request, std::string not_now) {
    const std::uint64_t asked_in = sessions_;
    result<> done = fail(errc::not_in_sync, std::move(not_now));
    if (done.error().context.empty()) {
        done = co_await compare({volume_index{static_cast<std::uint16_t>(request.volume)},
                                 {request.offset, request.length}});
    }
    if (asked_in == sessions_) {
        wire::compare_reply reply;
        reply.id = request.id;
        reply.compared = done.has_value();
        reply.text = done ? "" : done.error().context.substr(0, limits::peer_text_bytes_max);
        site_.tell(std::move(reply));
    }
}

} // namespace farshore
