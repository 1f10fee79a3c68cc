#pragma once
// An interval of memory becomes the frames of the log: pure except for the encoder's state.

#include "dedupe/codec.hpp"
#include "replicator/capture/interval.hpp"
#include "replicator/log/spool.hpp"

#include <optional>
#include <vector>

namespace farshore {

struct encoded_interval {
    spooled_interval what;
    std::vector<buffer> frames;     ///< data frames, then the barrier
    std::uint64_t folded_bytes = 0; ///< content left after overwrites within the interval
};

/// `closed` must be settled. `heals`: damage count that this stream's catch-up repairs. Runs on the
/// CPU pool; one interval of a stream at a time, in order. `source`: blocks that the interval does
/// not change, as of the barrier before it. `loans`: what the receiver has taken from other groups
/// for it. `label`: of a bookmark. errc::mismatch: the encoder's self-check failed
/// (dedupe::encoder::self_check); nothing of it may leave.
result<encoded_interval> encode_interval(dedupe::encoder &encoder, const interval &closed,
                                         std::uint64_t heals, const dedupe::source_reader &source,
                                         std::span<const dedupe::loan> loans = {},
                                         std::optional<point_label> label = {});

} // namespace farshore
