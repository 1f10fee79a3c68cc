#pragma once
// Where one side stands in the order of intervals.

#include "replicator/base/types.hpp"

namespace farshore {

/// The last interval of a stream that something is true of ({0, 0}: nothing yet). Positions compare
/// by interval: ids never go back, whatever the stream.
struct stream_position {
    stream_id stream;
    interval_id interval;
    bool operator==(const stream_position &) const = default;
};

} // namespace farshore
