#pragma once
// Whether clients of a group's volumes are served: a device in front of each volume's, which
// refuses all of it while the gate is shut. A client that reads what another site has changed since
// would be as wrong as one that writes.
//
// Threads: any.

#include "replicator/storage/block_device.hpp"

#include <atomic>
#include <memory>

namespace farshore {

class io_gate {
  public:
    bool open() const { return open_.load(std::memory_order_acquire); }
    /// Requests that came before may still be under way.
    void shut() { open_.store(false, std::memory_order_release); }
    void let_in() { open_.store(true, std::memory_order_release); }

  private:
    std::atomic<bool> open_ = true;
};

/// Errors of a shut gate: ESHUTDOWN.
std::shared_ptr<block_device> make_gated_device(std::shared_ptr<block_device> behind,
                                                std::shared_ptr<const io_gate> gate);

} // namespace farshore
