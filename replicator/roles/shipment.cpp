#include "replicator/roles/shipment.hpp"

#include <algorithm>

namespace farshore {
namespace {

/// `common` is a stretch of one, where no history leads up to it.
std::vector<barrier_stretch> stretches_of(const counting_claim &c) {
    const bool leads_up = !c.history.empty() && c.history.back().stream == c.common.stream &&
                          c.history.back().last == c.common.interval;
    if (leads_up) {
        return c.history;
    }
    return {{c.common.stream, c.common.interval, c.common.interval}};
}

} // namespace

std::optional<stream_position> counted_from(const counting_claim &serving,
                                            const counting_claim &following) {
    const std::vector<barrier_stretch> ours = stretches_of(serving);
    const std::vector<barrier_stretch> theirs = stretches_of(following);
    std::optional<stream_position> newest;
    for (const barrier_stretch &a : ours) {
        for (const barrier_stretch &b : theirs) {
            const interval_id last = std::min(a.last, b.last);
            if (a.stream == b.stream && last >= std::max(a.first, b.first) &&
                (!newest || last > newest->interval)) {
                newest = stream_position{a.stream, last};
            }
        }
    }
    return newest;
}

} // namespace farshore
