#pragma once
// For tests and the simulation only: another network than TLS, and the devices of points without
// NBD.

#include "replicator/receiver/receiver.hpp"
#include "replicator/session/network.hpp"
#include "replicator/storage/block_device.hpp"

#include <memory>
#include <string>
#include <vector>

namespace farshore {

struct receiver_access {
    /// Before start().
    static void set_network(receiver &r, std::unique_ptr<network> net);
    /// Devices of an open point, without NBD: as `open` serves them, once it is reached.
    static task<result<std::vector<std::shared_ptr<block_device>>>>
    open_devices(receiver &r, std::string group, std::string point);
    /// Of what `open` opened under that id; empty: it is not served now.
    static std::vector<std::shared_ptr<block_device>> opened_devices(receiver &r,
                                                                     const std::string &id);
};

} // namespace farshore
