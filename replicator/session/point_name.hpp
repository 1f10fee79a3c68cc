#pragma once
// How an operator names a point: an id, an RFC 3339 time, "latest", "latest-app" (the newest that
// the applications agreed to), an age such as "-5m", or the name of a bookmark, which looks like
// none of these (format/point_label.hpp). Pure.
//
// Times of points are those of the primary's clock and are printed in milliseconds, so they are
// compared as printed: what `wait` and `points` say opens the point that it was said of. That clock
// may be set back, and then times are not in the order of points: a time stands for the latest time
// not after it that any point has, and for the newest of the points that have it. So every point
// can be named by its own time, unless a newer one has the same. An age goes by the DR site's clock
// (session/peer_clock.hpp): the youngest point that is at least as old.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <optional>
#include <span>
#include <string>
#include <variant>

namespace farshore {

struct point_latest {};
struct point_latest_app {};
struct point_by_id {
    std::uint64_t id = 0;
};
struct point_by_time {
    wall_time time{};
};
struct point_by_age {
    duration age{};
};
/// A bookmark's name; the newest of the points that have it.
struct point_by_label {
    std::string name;
};
using point_name = std::variant<point_latest, point_latest_app, point_by_id, point_by_time,
                                point_by_age, point_by_label>;

/// Empty text is latest. errc::invalid says what forms there are.
result<point_name> parse_point_name(const std::string &text);

struct dated_point {
    wall_time time{};
    duration age{};
};
/// Which of them, oldest first in the order of barriers, a time or an age stands for; nothing:
/// none, or another name.
std::optional<std::size_t> choose_point(const point_name &name,
                                        std::span<const dated_point> points);

} // namespace farshore
