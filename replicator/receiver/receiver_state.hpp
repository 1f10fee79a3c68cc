#pragma once
// Which state a group at the DR site shows, as a pure function of what is known (interface
// contract: states). What the group is doing is another matter: receiver_cases.hpp.

#include "replicator/session/status.hpp"

namespace farshore {

struct receiver_state_facts {
    bool failed = false;      ///< its storage failed, or has not answered yet
    bool serves = false;      ///< the role of this site is to serve
    bool copy = false;        ///< there is one, and it is open
    bool replaying = false;   ///< what was durable at the start is being applied
    bool applied = false;     ///< at least one barrier
    bool in_catch_up = false; ///< what is applied is no point yet
};

/// First match wins: failed; promoted; nothing there or nothing applied -> empty, unless it is
/// replaying; receiving_sync in a catch-up, else following.
constexpr receiver_state state_of(const receiver_state_facts &f) {
    if (f.failed) {
        return receiver_state::failed;
    }
    if (f.serves) {
        return receiver_state::promoted;
    }
    if (f.copy && f.replaying) {
        return receiver_state::replaying;
    }
    if (!f.copy || !f.applied) {
        return receiver_state::empty;
    }
    return f.in_catch_up ? receiver_state::receiving_sync : receiver_state::following;
}

} // namespace farshore
