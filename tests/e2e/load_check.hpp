#pragma once
// The checking half of farshore-load: is a set of images exactly what a prefix of every chain's
// writes gives?

#include "replicator/base/error.hpp"
#include "tests/e2e/load_plan.hpp"

#include <string>
#include <vector>

namespace farshore::load {

struct check_options {
    std::vector<std::string> volumes; ///< files or NBD URIs, in the plan's order
    plan_options plan;
    bool filled = false;              ///< sectors had content before the first write
    std::vector<std::uint64_t> floor; ///< each chain's prefix must reach this write
    bool exact = false;               ///< ... and go no further
};

/// Finds each chain's newest write k in the images and compares every sector, on all volumes, with
/// the effect of writes 1..k. errc::mismatch names the first sector that differs; errc::not_in_sync
/// says that a prefix is shorter (or, with `exact`, longer) than asked. Returns every k.
result<std::vector<std::uint64_t>> check_prefix(check_options options);

} // namespace farshore::load
