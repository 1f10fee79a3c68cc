#pragma once
// Which recovery points a group has when it is opened: pure, from what the history holds and what
// the catalogue knows (docs/formats-log.md "Catalogue" is the table). The history decides what can
// be opened, the catalogue what retention or somebody let go; it may be older than the history,
// begun anew, or put back from some other time.

#include "replicator/catalogue/catalogue.hpp"

#include <span>
#include <vector>

namespace farshore {

struct point_evidence {
    std::span<const catalogued_point> history;    ///< oldest first; only ids and times count
    std::span<const catalogued_point> catalogued; ///< oldest first
    interval_id noted_through;
};

struct settled_points {
    std::vector<catalogued_point> points; ///< oldest first
    std::vector<interval_id> gone;        ///< to be dropped from the catalogue: not in the history
    std::vector<interval_id> gone_and_pinned; ///< of these
};

settled_points settle_points(const point_evidence &evidence);

} // namespace farshore
