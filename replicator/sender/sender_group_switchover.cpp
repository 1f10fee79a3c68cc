// A group at the site that serves, as a party of a switchover (switchover.hpp).

#include "replicator/base/log.hpp"
#include "replicator/roles/role_steps.hpp"
#include "replicator/sender/sender_group.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {
namespace {

constexpr duration idle_looked_for_every = std::chrono::milliseconds(5);

wire::role_offer message_of(const role_offer &o) {
    wire::role_offer m;
    m.number = o.number;
    m.begins = o.begins.value;
    m.parent = o.parent.value;
    m.barrier = o.barrier;
    return m;
}

} // namespace

result<> sender_group::may_hand_over() const {
    if (upkeep_->disturbed()) {
        return fail(errc::dead, *upkeep_->disturbed());
    }
    if (role_.switching) {
        return fail(errc::busy, fmt::format("group \"{}\" is being handed over already", name()));
    }
    FS_TRY(next, handing_over((*role_.kept)->state, fresh_generation(), true));
    static_cast<void>(next);
    if (paused() || !site_->may_hand_over()) {
        return fail(errc::not_in_sync,
                    fmt::format("group \"{}\" is {}, and is handed over when it is streaming to a "
                                "site that knows roles; nothing was changed",
                                name(), name_of(state())));
    }
    return {};
}

task<result<>> sender_group::catch_up(duration patience) {
    FS_CO_TRY(reached, co_await wait(false, patience));
    static_cast<void>(reached);
    co_return result<>{};
}

void sender_group::hold() {
    role_.switching = true;
    role_.gate->hold();
}

// What is proved is the newest barrier, when nothing was written since.
task<result<>> sender_group::prove(time_point until) {
    const commands_under_way::mark waits(waits_);
    const commands_under_way::mark here(commands_);
    while (!role_.gate->idle() && !commands_.ending() && run_.time->now() < until) {
        co_await run_.time->sleep_for(idle_looked_for_every);
    }
    if (!role_.gate->idle()) {
        co_return fail(errc::timeout,
                       fmt::format("group \"{}\": a client's request does not come to its end; "
                                   "clients go on, nothing was changed",
                                   name()));
    }
    while (!commands_.ending() && run_.time->now() < until && site_->may_hand_over()) {
        const interval_id covered = stream_->covered();
        if (covered.value != 0 && proved().shows == site_->ledger().applied() &&
            site_->ledger().applied_point() == covered) {
            co_return result<>{};
        }
        if (covered.value == 0) {
            co_await cut_for_wait(until);
        }
        co_await progress_.wait_until(
            *run_.time, std::min(until, run_.time->now() + idle_looked_for_every * 10));
    }
    co_return fail(commands_.ending() ? errc::closed : errc::timeout,
                   fmt::format("group \"{}\": the other site does not have the last barrier in "
                               "time; clients go on, nothing was changed",
                               name()));
}

/// What this site can say of its content while nobody writes.
content_claim sender_group::proved() const {
    content_claim c;
    c.common = c.shows = {stream_->ledger().stream(), stream_->covered()};
    c.differs = stream_->covered().value == 0;
    return c;
}

task<result<switchover_outcome>> sender_group::hand_over() {
    const commands_under_way::mark here(commands_);
    const generation_id fresh = fresh_generation();
    std::optional<wire::role_offer> offer;
    FS_CO_CHECK(co_await role_.kept->change([&](group_role &r) -> result<> {
        FS_TRY(next, handing_over(r.state, fresh, site_->may_hand_over()));
        const auto made = offer_of(next, proved(), site_->ledger().applied());
        if (!made) {
            return fail(errc::not_in_sync,
                        fmt::format("group \"{}\": the other site is not as far any more; clients "
                                    "go on, nothing was changed",
                                    name()));
        }
        r.state = next;
        offer = message_of(*made);
        return {};
    }));
    log::warning("group {}: its role is offered to the other site: generation {}, barrier {}",
                 name(), text_of(fresh), offer->barrier.interval.value);
    if (!site_->offer(*offer)) {
        FS_CO_CHECK(co_await role_.kept->change([](group_role &r) -> result<> {
            FS_TRY(next, offer_untold(r.state));
            r.state = next;
            return {};
        }));
        co_return fail(errc::not_in_sync, fmt::format("group \"{}\": the line broke; clients go "
                                                      "on, and this site serves",
                                                      name()));
    }
    const time_point until = run_.time->now() + limits::switchover_told_max;
    const auto role = [this] { return (*role_.kept)->state.role; };
    while (role() == site_role::handing_over && !commands_.ending() && run_.time->now() < until) {
        co_await progress_.wait_until(*run_.time, until);
    }
    if (role() == site_role::handing_over) {
        co_return fail(errc::timeout,
                       fmt::format("group \"{}\": it is not known yet whether the other site took "
                                   "the role. Clients get errors here until the sites have met, "
                                   "which goes by itself",
                                   name()));
    }
    if (role() == site_role::serving) {
        co_return fail(errc::not_in_sync,
                       fmt::format("group \"{}\": the other site did not take the role (its log "
                                   "says why); clients go on here",
                                   name()));
    }
    role_.switching = false;
    heed_role();
    switchover_outcome out;
    out.group = name();
    out.point = std::to_string(offer->barrier.interval.value);
    out.generation = text_of(fresh);
    co_return out;
}

void sender_group::go_on() {
    role_.switching = false;
    heed_role();
}

} // namespace farshore
