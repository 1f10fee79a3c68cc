#pragma once
// A rehearsal: a writable copy of a point, the steps that start its applications, a script that
// says whether they are good, and the result on the point. What `farshore test` does, at the
// receiver's host.
//
// The receiver opens the copy for as long as we are connected to it (carry/opening.hpp). All that
// is started lives under a guard (guard.hpp). So nothing is left however this ends:
//
//   what ends first   what happens
//   the script        the steps are stopped, the result is noted, the copy closed
//   its time          everything is killed, then the same
//   this process      the guard kills all and removes the directories; the receiver drops the copy
//   the receiver      everything is killed; its next start drops the copy; nothing can be noted
//
// Thread: the caller's, and the program has no others; blocks until it is done.

#include "replicator/base/start_step.hpp"
#include "replicator/carry/carry.hpp"

#include <string>
#include <vector>

namespace farshore::rehearsal {

struct request {
    carry::point_choice from; ///< writable
    std::string name;         ///< of the test in the configuration; empty: somebody's own
    std::vector<std::string> run;
    duration timeout = std::chrono::minutes(30); ///< of the script; each step has its own
    bool isolate = false;
    std::string user; ///< empty: ours
};

/// {"group", "point", "passed", "seconds", "message", "timed_out", "recorded"}. A failure: there is
/// no verdict on the copy, and nothing was noted. `output`: gets what the scripts print, as it
/// comes; may be empty.
control::outcome run(const request &wanted, const carry::means &with,
                     const std::function<void(const std::string &)> &output);

/// The runbook as `open_attached` tells it. errc::corrupt.
result<std::vector<start_step>> steps_of(const control::json &told);

} // namespace farshore::rehearsal
