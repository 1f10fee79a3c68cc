#pragma once
// A copy whose volumes are to be served, for who serves them.

#include "replicator/replica/replica_group.hpp"
#include "replicator/session/group_role.hpp"
#include "replicator/session/kept.hpp"

#include <memory>

namespace farshore {

struct served_copy {
    std::shared_ptr<replica_group> copy;
    kept<group_role> *role = nullptr; ///< the site's; heeded while it serves
};

} // namespace farshore
