#pragma once
// How the group makes an interval out of the core that its writers filled.

#include "replicator/capture/interval.hpp"
#include "replicator/capture/interval_core.hpp"

namespace farshore {

struct interval::impl {
    owned_core core;
};

} // namespace farshore
