// A group at the primary and its role there: whether its clients are served, and what it says when
// sites meet.

#include "replicator/base/log.hpp"
#include "replicator/roles/role_steps.hpp"
#include "replicator/sender/sender_group.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {

/// A group that never had a role serves, from its first generation on.
task<result<>> sender_group::open_role() {
    FS_CO_TRY(role, co_await options_.role());
    role_.kept = role;
    if (!(*role_.kept)->state.ancestry.blank()) {
        co_return result<>{};
    }
    FS_CO_TRY(first, lineage().child(first_generation(options_.sender, name()), {}));
    co_return co_await role_.kept->change([&first](group_role &r) -> result<> {
        r.state.role = site_role::serving;
        r.state.ancestry = first;
        return {};
    });
}

bool sender_group::fenced() const {
    return role_.kept != nullptr && (*role_.kept)->state.role != site_role::serving;
}

void sender_group::shut_gate() {
    if (!role_.gate->open()) {
        return;
    }
    role_.gate->shut();
    switch ((*role_.kept)->state.role) {
    case site_role::handing_over:
        log::error("group {}: its role was offered to the other site, and it is not known whether "
                   "that took it: clients get errors until the sites have met",
                   name());
        break;
    case site_role::following:
        log::info("group {}: the other site serves from now on", name());
        break;
    case site_role::serving: // and hears of a newer generation just now
    case site_role::fenced:
        log::error("group {}: the other site was promoted and serves a newer generation: clients "
                   "here get errors from now on. `farshore reverse {}` makes this site follow, and "
                   "keeps what only it has",
                   name(), name());
        break;
    }
}

/// Whether clients are served follows from the role alone.
void sender_group::heed_role() {
    if (!fenced()) {
        if (role_.awaits_contact) {
            role_.gate->hold();
        } else if (!role_.switching) {
            role_.gate->let_in();
        }
    } else if (!role_.switching || (*role_.kept)->state.role != site_role::handing_over) {
        shut_gate();
    }
    progress_.notify_all();
}

/// At a start: the other site has had a copy, as far as this one remembers, and was not known to
/// follow to the end. Maps of a generation are fresh when it begins, which an operator asked for;
/// a plain group that lost its own remembers by what was acknowledged.
bool sender_group::another_may_serve() const {
    const capture_start &found = stream_->capture().start();
    const bool changed_hands = (*role_.kept)->state.ancestry.generations().size() > 1;
    return !found.stopped_in_order &&
           (found.acknowledged.interval.value != 0 || (changed_hands && !found.fresh));
}

/// A session means that the other site follows.
void sender_group::look_for_contact() {
    if (role_.awaits_contact && site_->connected()) {
        role_.awaits_contact = false;
        log::info("group {}: the DR site was heard, clients are served", name());
        heed_role();
    }
}

/// errc::refused: its role is not in doubt.
task<result<std::string>> sender_group::take_role_back() {
    const commands_under_way::mark here(commands_);
    if (role_.awaits_contact && (*role_.kept)->state.role == site_role::serving) {
        role_.awaits_contact = false;
        log::warning("group {}: clients are served by force, before the DR site was heard", name());
        heed_role();
        co_return text_of(*(*role_.kept)->state.ancestry.newest());
    }
    const generation_id fresh = fresh_generation();
    FS_CO_CHECK(co_await role_.kept->change([&](group_role &r) -> result<> {
        if (r.state.role != site_role::handing_over) {
            return fail(errc::refused,
                        fmt::format("group \"{}\" is {} here: the other site is promoted at its "
                                    "receiver",
                                    name(), name_of(r.state.role)));
        }
        content_claim shows; // an offer gives the newest barrier away, and nothing came after it
        shows.shows = {stream_->ledger().stream(), stream_->ledger().last_cut().id};
        FS_TRY(next, promoted(r.state, shows, fresh, true));
        r.state = next;
        return {};
    }));
    heed_role();
    log::warning("group {}: serves again, by force: generation {}", name(), text_of(fresh));
    co_return text_of(fresh);
}

task<result<wire::site_claim>> sender_group::meet(wire::site_claim said) {
    FS_CO_TRY(theirs, role_of_claim(said));
    const role_state mine = (*role_.kept)->state;
    const meeting met = farshore::meet(claim_of(mine), claim_of(theirs));
    if (options_.met) {
        options_.met({met, meeting_side::first, theirs.ancestry});
    }
    const role_state after =
        after_meeting(mine, met, meeting_side::first, theirs, theirs.void_upto);
    if (after.role == site_role::fenced) {
        shut_gate(); // whether or not it can be written down now
    }
    if (after != mine) {
        FS_CO_CHECK(co_await role_.kept->change([&](group_role &r) -> result<> {
            r.state = after;
            return {};
        }));
    }
    heed_role();
    co_return claim_message(mine);
}

} // namespace farshore
