#pragma once
// What a bookmark asks of applications at the primary: to be still while its barrier is cut. An
// interface, so that the simulation has applications of its own; the daemon runs a process for each
// (quiesce/hook_process.hpp).

#include "replicator/base/async.hpp"
#include "replicator/format/point_label.hpp"
#include "replicator/session/config.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace farshore {

/// What a hook is told of the bookmark that it is for.
struct hook_context {
    std::string group;
    std::string bookmark;
    std::vector<std::pair<std::string, std::string>> volumes; ///< name, path
};

/// An application that is still. Who holds it calls release(); if it is destroyed before, it is
/// released soon, and nobody is told.
class held_application {
  public:
    virtual ~held_application() = default;
    /// Returns when it goes on, or when that was forced after the hook's time (release_grace). The
    /// result is ok only when the application was shown to be still until now.
    virtual task<hook_result> release() = 0;
};

struct freeze_outcome {
    std::unique_ptr<held_application> held; ///< null: it is not still, and `result` says why
    hook_result result;
};

class application_host {
  public:
    virtual ~application_host() = default;
    /// Returns within the hook's timeout and freeze_grace.
    virtual task<freeze_outcome> freeze(hook_config hook, hook_context context) = 0;
    /// Returns when nothing of what was frozen is left to be waited for.
    virtual task<void> join() = 0;
};

/// Beyond its timeout: until a hook that is not frozen is given up, so that the others go on; and
/// until one that is to be released is, for it may have to be done by force.
constexpr duration freeze_grace = std::chrono::milliseconds(500);
constexpr duration release_grace = std::chrono::seconds(9);

} // namespace farshore
