#pragma once
// Whether the next request of a client may be taken from its socket: its memory first, then its
// bytes. Pure.

#include "replicator/base/clock.hpp"

#include <cstddef>
#include <cstdint>

namespace farshore::nbd {

/// Data of a request that needs no credit when it is the client's only one: what 1,024 clients that
/// have one each cost stands in the fixed 64 MiB beside `memory`.
constexpr std::size_t lean_bytes_max = std::size_t{8} * 1024;

enum class admission : std::uint8_t {
    ample,    ///< take it; replies go into chunks
    lean,     ///< take it; buffers of just its size
    wait_own, ///< until this client's own requests are answered and the answers taken
    queue,    ///< give back all credit and stand in line for more
};

// | credit covers it | in flight | data                | so       |
// | ---------------- | --------- | ------------------- | -------- |
// | yes              | any       | any                 | ample    |
// | no               | something | any                 | wait_own |
// | no               | nothing   | <= lean_bytes_max   | lean     |
// | no               | nothing   | more                | queue    |
//
// So who queues holds nothing, and every client can have one request of a usual size in flight.
constexpr admission admit(bool covered, bool in_flight, std::size_t data_bytes) {
    if (covered) {
        return admission::ample;
    }
    if (in_flight) {
        return admission::wait_own;
    }
    return data_bytes <= lean_bytes_max ? admission::lean : admission::queue;
}

/// A client that owes us something (to take a reply, to send the rest of a payload) and moves no
/// byte for so long is let go.
constexpr duration stuck_max = std::chrono::seconds(60);

class stuck_watch {
  public:
    /// `moved`: any count that grows with each byte. True: let it go.
    bool stuck(time_point now, bool owes, std::uint64_t moved) {
        if (!owes || moved != moved_ || !owing_) {
            owing_ = owes;
            moved_ = moved;
            since_ = now;
        }
        return owes && now - since_ >= stuck_max;
    }

  private:
    bool owing_ = false;
    std::uint64_t moved_ = 0;
    time_point since_{};
};

} // namespace farshore::nbd
