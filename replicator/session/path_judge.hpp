#pragma once
// Tells a path that drops packets above some size (a tunnel or VPN whose MTU is smaller than the
// hosts', and whose "fragmentation needed" does not come back) from a line that is just down.
// Everything small works there: TCP connects, TLS greets, heartbeats go both ways; the first full
// packet never arrives, and each session ends by silence.
//
// Table: how a session ended, and what it says of the path
//   it never came to a welcome                                  nothing (the peer, or the line, is down)
//   ended by us, by a refusal or by a broken rule               nothing
//   ended by the line after data, digests or an answer got through   the path is good: begin anew
//   ended by the line, `lasted` at least lasted_min, nothing large got through   one more
// Two in a row, and it is said. Pure; home thread.

#include "replicator/base/clock.hpp"

namespace farshore {

struct session_end {
    bool welcomed = false;
    bool moved =
        false; ///< something large was answered: an ack of frames, digests, loans, a verify
    bool by_line = false; ///< silence or an error of the connection
    bool tried = false;   ///< something large was sent
    duration lasted{};
};

class path_judge {
  public:
    static constexpr int sessions_min = 2;
    static constexpr duration lasted_min = std::chrono::seconds(3);

    void ended(const session_end &e) {
        if (e.moved) {
            in_a_row_ = 0;
        } else if (e.welcomed && e.by_line && e.tried && e.lasted >= lasted_min) {
            ++in_a_row_;
        }
    }
    void moved() { in_a_row_ = 0; }
    bool suspects() const { return in_a_row_ >= sessions_min; }

    static constexpr const char *words =
        "connections open and small messages get through, but data never does: the path seems to "
        "drop packets above "
        "some size. Check the MTU of the tunnel or VPN on the way and its MSS clamping (`ping -M "
        "do -s 1472 HOST` shows "
        "it), or lower the MTU of this host's route to the DR site";

  private:
    int in_a_row_ = 0;
};

} // namespace farshore
