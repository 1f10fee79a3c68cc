#pragma once
// For tests and the simulation only: another network than TLS, and the capture devices without NBD.

#include "replicator/engine/network.hpp"
#include "replicator/engine/receiver.hpp"
#include "replicator/engine/sender.hpp"
#include "replicator/storage/block_device.hpp"

#include <memory>
#include <string>

namespace farshore::engine {

struct sender_access {
    /// Before start().
    static void set_network(sender &s, std::unique_ptr<network> net, std::string boot_id, wall_time boot_began = {});
    static std::shared_ptr<block_device> device(sender &s, const std::string &group, volume_index v);
};

struct receiver_access {
    /// Before start().
    static void set_network(receiver &r, std::unique_ptr<network> net);
    /// Devices of an open point, without NBD: as `open` serves them, once it is reached.
    static task<result<std::vector<std::shared_ptr<block_device>>>> open_devices(receiver &r, std::string group,
                                                                                 std::string point);
};

} // namespace farshore::engine
