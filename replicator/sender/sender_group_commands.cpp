// The operator's commands on a group at the primary.

#include "replicator/base/log.hpp"
#include "replicator/sender/sender_group.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {

void sender_group::set_peer(std::optional<pinned_peer> peer) { site_->set_peer(std::move(peer)); }

// ---- wait --------------------------------------------------------------------------------------

// Whoever waits wants the barrier now, however fast clients write; but not one that a catch-up or a
// full queue makes worthless.
task<std::optional<barrier_info>> sender_group::cut_for_wait(time_point deadline) {
    constexpr duration try_again_after = std::chrono::milliseconds(100);
    while (!commands_.ending() && run_.time->now() < deadline) {
        if (stream_->ledger().recorded() && stream_->capture().pending_bytes() == 0 &&
            stream_->may_cut()) {
            if (const auto made = stream_->cut(true, true); made && made->consistent) {
                co_return made->barrier;
            }
        }
        const time_point again = std::min(deadline, run_.time->now() + try_again_after);
        co_await progress_.wait_until(*run_.time, again);
    }
    co_return std::nullopt;
}

task<result<wait_outcome>> sender_group::wait(bool durable_only, duration timeout) {
    const time_point deadline = run_.time->now() + timeout;
    if (upkeep_->disturbed()) {
        co_return fail(errc::dead, *upkeep_->disturbed());
    }
    if (!site_->known()) {
        co_return fail(
            errc::not_in_sync,
            fmt::format("group \"{}\" is not paired with a DR site; run `farshore invite {}` "
                        "there and `farshore join TOKEN` here",
                        name(), name()));
    }
    const commands_under_way::mark waits(waits_);
    const commands_under_way::mark here(commands_);
    site_->kick(); // a catch-up is not held any longer
    const auto mine = co_await cut_for_wait(deadline);
    const auto reached = [this, durable_only, &mine] {
        const site_ledger &site = site_->ledger();
        return mine && (durable_only ? site.durable_point() : site.applied_point()) >= mine->id;
    };
    while (mine && !commands_.ending() && !reached() && run_.time->now() < deadline) {
        co_await progress_.wait_until(*run_.time, deadline);
    }
    if (!reached() && commands_.ending()) {
        co_return fail(errc::closed, "the sender stops");
    }
    if (!reached()) {
        const sender_group_status s = status();
        co_return fail(errc::timeout, fmt::format("group \"{}\": the DR site did not have the "
                                                  "barrier within {:.0f} s (state {}, {}{})",
                                                  name(), seconds_of(timeout), name_of(s.state),
                                                  s.connected ? "connected" : "not connected",
                                                  s.error ? ", last error: " + *s.error : ""));
    }
    wait_outcome out;
    out.group = name();
    out.point = std::to_string(mine->id.value);
    out.barrier = mine->id;
    out.time = mine->time;
    out.applied = site_->ledger().applied_point() >= mine->id;
    co_return out;
}

task<result<bookmark_outcome>> sender_group::bookmark(bookmark_request wanted) {
    if (upkeep_->disturbed()) {
        co_return fail(errc::dead, *upkeep_->disturbed());
    }
    const commands_under_way::mark waits(waits_);
    const commands_under_way::mark here(commands_);
    co_return co_await bookmarks_->make(std::move(wanted));
}

// ---- pause, resync, throttle -------------------------------------------------------------------

task<result<>> sender_group::set_paused(bool paused) {
    const commands_under_way::mark here(commands_);
    FS_CO_CHECK(co_await settings_.change([paused](group_settings &s) -> result<> {
        s.paused = paused;
        return {};
    }));
    site_->set_paused(settings_->paused);
    stream_->kick();
    co_return result<>{};
}

task<result<>> sender_group::resync(bool full) {
    const commands_under_way::mark here(commands_);
    if (!site_->known()) {
        co_return fail(errc::not_in_sync,
                       fmt::format("group \"{}\" is not paired with a DR site", name()));
    }
    co_await run_on(run_.disk, [this] {
        stream_->capture().mark_all_dirty();
        return true;
    });
    // Again, and now without a disk: a scan that ran meanwhile may have settled some of it by
    // digests, which `full` refuses.
    stream_->capture().mark_all_dirty();
    site_->catch_up_now(full); // asked for now
    log::info("group {}: resync asked for: {}", name(),
              full ? "everything is shipped"
                   : "everything is compared by digests, what differs is shipped");
    if (stream_->ledger().recorded()) {
        stream_->lose_order("");
    } else {
        site_->restart("a resync was asked for");
    }
    co_return result<>{};
}

template <class F>
task<result<>> sender_group::change_throttle(F f) {
    const commands_under_way::mark here(commands_);
    FS_CO_CHECK(co_await settings_.change([f](group_settings &s) -> result<> {
        f(s.throttle);
        return {};
    }));
    apply_throttle();
    co_return result<>{};
}

task<result<>> sender_group::throttle_set(std::optional<std::uint64_t> rate,
                                          std::optional<duration> lasts) {
    return change_throttle(
        [rate, lasts, now = run_.time->wall()](throttle_setting &t) { t.set(rate, lasts, now); });
}

task<result<>> sender_group::throttle_clear() {
    return change_throttle([](throttle_setting &t) { t.clear(); });
}

// ---- verify ------------------------------------------------------------------------------------

/// Empty: the DR site can be compared with now.
std::string sender_group::why_no_verify() const {
    const bool may = site_->connected() && stream_->ledger().recorded() && in_sync() && !paused();
    return may ? ""
               : fmt::format("group \"{}\" is {}; verify compares when it is streaming", name(),
                             name_of(state()));
}

task<result<verify_outcome>> sender_group::verify(progress_report progress) {
    const commands_under_way::mark here(commands_);
    if (const std::string why = why_no_verify(); !verify_->verifying() && !why.empty()) {
        co_return fail(errc::not_in_sync, why);
    }
    co_return co_await verify_->run(std::move(progress));
}

void sender_group::on_compare(const wire::compare_request &r) {
    tasks_.spawn(verify_->answer(r, stopping_ ? "the sender stops" : why_no_verify()));
}

} // namespace farshore
