#pragma once
// Whether clients of a group's volumes are served: a device in front of each volume's.
//
//   state   requests that begin                      that began before
//   open    are served                               are served
//   held    wait at the NBD server, without errors   go on; idle() when none is left
//   shut    are refused: ESHUTDOWN                   are refused as they come to the device
//
// A client that reads what another site has changed since would be as wrong as one that writes, so
// all of it is refused. Held is for a moment, within which it is decided where clients are served.
//
// Threads: any.

#include "replicator/storage/block_device.hpp"

#include <atomic>
#include <cstdint>
#include <memory>

namespace farshore {

class io_gate {
  public:
    enum class state : std::uint8_t { open, held, shut };

    state now() const { return state_.load(); }
    bool open() const { return now() == state::open; }
    void shut() { state_.store(state::shut); }
    void let_in() { state_.store(state::open); }
    /// Nothing while it is shut.
    void hold() {
        state expected = state::open;
        state_.compare_exchange_strong(expected, state::held);
    }

    // As block_device has them. Sequentially consistent: either enter() sees that it is held, or
    // idle() sees who went in.
    bool enter() {
        inside_.fetch_add(1);
        if (now() == state::held) {
            inside_.fetch_sub(1);
            return false;
        }
        return true;
    }
    void leave() { inside_.fetch_sub(1); }
    bool idle() const { return inside_.load() == 0; }

  private:
    std::atomic<state> state_ = state::open;
    std::atomic<std::uint64_t> inside_ = 0;
};

/// Errors of a shut gate: ESHUTDOWN.
std::shared_ptr<block_device> make_gated_device(std::shared_ptr<block_device> behind,
                                                std::shared_ptr<io_gate> gate);

} // namespace farshore
