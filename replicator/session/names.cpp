#include "replicator/session/status.hpp"

namespace farshore {

const char *name_of(sender_state s) {
    switch (s) {
    case sender_state::unpaired:
        return "unpaired";
    case sender_state::initial_sync:
        return "initial_sync";
    case sender_state::streaming:
        return "streaming";
    case sender_state::spooling:
        return "spooling";
    case sender_state::tracking:
        return "tracking";
    case sender_state::catching_up:
        return "catching_up";
    case sender_state::paused:
        return "paused";
    case sender_state::handing_over:
        return "handing_over";
    case sender_state::fenced:
        return "fenced";
    case sender_state::following:
        return "following";
    case sender_state::failed:
        return "failed";
    }
    return "?";
}

const char *name_of(receiver_state s) {
    switch (s) {
    case receiver_state::empty:
        return "empty";
    case receiver_state::receiving_sync:
        return "receiving_sync";
    case receiver_state::following:
        return "following";
    case receiver_state::promoted:
        return "promoted";
    case receiver_state::failed:
        return "failed";
    case receiver_state::replaying:
        return "replaying";
    }
    return "?";
}

} // namespace farshore
