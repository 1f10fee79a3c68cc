#pragma once
// How an operator names a point: an id, an RFC 3339 time (the newest point not after it), "latest", or "-5m". Pure.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <optional>
#include <string>
#include <variant>

namespace farshore::engine {

struct point_latest {};
struct point_by_id {
    std::uint64_t id = 0;
};
struct point_by_time {
    wall_time time{}; ///< the newest point not after it
};
using point_name = std::variant<point_latest, point_by_id, point_by_time>;

/// Empty text is latest. errc::invalid says what forms there are.
result<point_name> parse_point_name(const std::string &text, wall_time now);

} // namespace farshore::engine
