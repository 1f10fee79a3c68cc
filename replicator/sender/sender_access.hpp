#pragma once
// For tests and the simulation only: another network than TLS, and the capture devices without NBD.

#include "replicator/sender/sender.hpp"
#include "replicator/session/network.hpp"
#include "replicator/storage/block_device.hpp"

#include <memory>
#include <string>

namespace farshore {

struct sender_access {
    /// Before start().
    static void set_network(sender &s, std::unique_ptr<network> net, std::string boot_id,
                            wall_time boot_began = {});
    static void set_boot(sender &s, std::string boot_id);
    /// Requests are refused with EAGAIN, in place of waiting, while a switchover holds the group.
    static std::shared_ptr<block_device> device(sender &s, const std::string &group,
                                                volume_index v);
};

} // namespace farshore
