#pragma once
// The point that is carried: opened by the daemon for as long as we are connected to it.

#include "replicator/carry/carry.hpp"
#include "replicator/carry/nbd_source.hpp"

#include <functional>
#include <string>
#include <vector>

namespace farshore::carry {

struct open_volume {
    std::string name;
    std::string uri;
    std::string mount = {}; ///< where it is mounted; empty: it is not
};
struct opening {
    std::string id;
    std::string group;
    std::string point;
    std::string since;   ///< the older point whose changes are told; empty: none
    control::json facts; ///< of the point, as `points` has them; null when it was thinned meanwhile
    std::vector<open_volume> volumes; ///< sorted by name
    std::string mount;                ///< the directory with all mounts; empty: none
    control::json start;              ///< the group's runbook; null: of an older receiver
};

/// Opens the point, calls `work`, and closes it by hanging up, whatever `work` returns.
control::outcome with_opening(const point_choice &from, const means &with,
                              const std::function<control::outcome(const opening &)> &work);

/// errc::not_found, naming those there are. An empty name is the only volume; errc::invalid when
/// there are several.
result<open_volume> choose_volume(const opening &o, const std::string &name);
result<nbd_source> connect_to(const opening &o, const open_volume &volume);

/// What `open_attached` told; errc::corrupt when it is something else.
result<opening> opening_of(const control::json &told);

} // namespace farshore::carry
