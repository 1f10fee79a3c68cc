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
    log::error("group {}: the other site was promoted and serves a newer generation: clients here "
               "get errors from now on. `farshore reverse {}` makes this site follow, and keeps "
               "what only it has",
               name(), name());
}

/// Whether clients are served follows from the role alone.
void sender_group::heed_role() {
    if (fenced()) {
        shut_gate();
    } else {
        role_.gate->let_in();
    }
}

task<result<wire::site_claim>> sender_group::meet(wire::site_claim said) {
    FS_CO_TRY(theirs, role_of_claim(said));
    const role_state mine = (*role_.kept)->state;
    const meeting met = farshore::meet(claim_of(mine), claim_of(theirs));
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
