#pragma once
// The applications of a group are started on its volumes after a promotion, by the same list as a
// rehearsal's; they stay when this process ends.
//
// Thread: one; blocks for as long as the steps take.

#include "replicator/base/start_step.hpp"
#include "replicator/rehearsal/script_environment.hpp"

#include <functional>
#include <string>
#include <vector>

namespace farshore::rehearsal {

struct start_outcome {
    std::vector<std::string> started; ///< names of steps, in order
    std::string failed;               ///< the step that is not up; empty: all are
    std::string why;
};

/// The first step that fails ends it; what is up stays. What they print goes to `output`, a
/// descriptor that outlives them. `say`: each step as it begins.
start_outcome start_applications(const std::vector<start_step> &steps, const copy_facts &facts,
                                 int output, const std::function<void(const std::string &)> &say);

} // namespace farshore::rehearsal
