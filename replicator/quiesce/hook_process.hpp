#pragma once
// Applications made still by `farshore-hook`, a process for each (docs/hook-protocol.md). What
// holds a freeze is never the daemon: when the daemon is killed, hangs or loses interest, the
// process sees its standard input end, and releases.
//
// Lines of JSON over a socket pair, which is the process's standard input and output:
//   we     {"version": 1, "name", "type", ...}     it   {"event": "frozen", "facts"} or "failed"
//   we     {"command": "release"}                  it   {"event": "released", "proved", ...}
//                                                  it   {"event": "expired"}, at its time's end
// A process that says nothing in time is told to end (SIGTERM: it releases), then killed.
//
// Thread: home; starting a process is done on a pool.

#include "replicator/sender/hooks.hpp"

#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace farshore {

struct hook_process_options {
    std::string program;            ///< path of farshore-hook
    std::vector<std::string> never; ///< paths whose file systems must not be frozen
};

class hook_processes final : public application_host {
  public:
    hook_processes(hook_process_options options, runtime run);
    ~hook_processes() override;

    task<freeze_outcome> freeze(hook_config hook, hook_context context) override;
    /// Returns when no process is left, or was killed and does not die.
    task<void> join() override;

    struct process; ///< one, with what it holds

  private:
    task<void> reap(std::shared_ptr<process> p);

    hook_process_options options_;
    runtime run_;
    task_group tasks_; ///< that wait for processes to end
};

} // namespace farshore
