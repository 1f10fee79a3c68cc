#pragma once
// Where a volume is served after a promotion: `serve` of a group with {volume} and {group} in it.
// Pure.

#include "replicator/base/error.hpp"

#include <cstddef>
#include <string>

namespace farshore::nbd {

/// errc::invalid: no endpoint, or one for several volumes. Empty `serve` gives an empty one: a
/// test's own, which writes to the devices.
result<std::string> serve_endpoint(const std::string &serve, const std::string &group,
                                   const std::string &volume, std::size_t volumes);

} // namespace farshore::nbd
