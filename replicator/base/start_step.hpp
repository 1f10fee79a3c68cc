#pragma once
// One step of a runbook: how an application is started on a copy. Rehearsals and promotion run the
// same list, in its order, and stop it in reverse.
//
//   without a probe  `run` must end with 0 within `timeout`; what it leaves running is the
//                    application
//   with a probe     `run` stays; `probe` is run again and again until it ends with 0, all within
//                    `timeout`

#include "replicator/base/clock.hpp"

#include <string>
#include <vector>

namespace farshore {

struct start_step {
    std::string name;
    std::vector<std::string> run;
    std::vector<std::string> probe = {}; ///< empty: none
    duration timeout = std::chrono::minutes(5);
};

namespace limits {
constexpr std::size_t start_steps_max = 32;                      ///< of one group
constexpr std::size_t script_words_max = 64;                     ///< program and arguments
constexpr std::size_t group_tests_max = 16;                      ///< [[group.test]] of one group
constexpr duration script_time_max = std::chrono::hours(24 * 7); ///< of a test or a step
} // namespace limits

} // namespace farshore
