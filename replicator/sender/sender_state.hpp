#pragma once
// Which state a sender group shows, as a pure function of what is known (interface contract:
// states).

#include "replicator/roles/site_role.hpp"
#include "replicator/session/status.hpp"

namespace farshore {

struct sender_state_facts {
    bool failed = false;
    site_role role = site_role::serving;
    bool paired = false;
    bool paused = false;
    bool recording = false;       ///< capture keeps the order
    bool connected = false;       ///< a session is up
    bool ever_consistent = false; ///< the DR site has had a complete point of this group
    bool consistent =
        false; ///< a consistent barrier of this stream is durable: no catch-up under way
    bool backlog_on_disk = false; ///< encoded intervals had to go to the spool's disk
};

/// First match wins: failed, by its role, unpaired, paused; recording: not yet consistent ->
/// initial_sync or catching_up (when connected, else tracking), consistent -> streaming when
/// connected without a backlog on disk, else spooling; not recording: initial_sync before the first
/// point ever, else tracking.
constexpr sender_state state_of(const sender_state_facts &f) {
    if (f.failed) {
        return sender_state::failed;
    }
    if (f.role == site_role::handing_over) {
        return sender_state::handing_over;
    }
    if (f.role != site_role::serving) { // one that follows is somebody else's in a moment
        return sender_state::fenced;
    }
    if (!f.paired) {
        return sender_state::unpaired;
    }
    if (f.paused) {
        return sender_state::paused;
    }
    if (f.recording && f.consistent) {
        return f.connected && !f.backlog_on_disk ? sender_state::streaming : sender_state::spooling;
    }
    if (!f.ever_consistent) {
        return sender_state::initial_sync;
    }
    return f.recording && f.connected ? sender_state::catching_up : sender_state::tracking;
}

} // namespace farshore
