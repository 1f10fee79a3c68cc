#pragma once
// The steps of a runbook and then one script, in the process that was made for them (guard.hpp): it
// is the parent of all of them, and in its process namespace the first process.
//
//   steps in order (base/start_step.hpp) -> script -> steps ended in reverse, by their groups
//
// Each gets /dev/null as input, one pipe as output and errors, a session of its own, and the user
// that is named. What it tells, a line each:
//
//   step NAME              begins
//   step_failed NAME WHY   and nothing further is started
//   script                 begins
//   ended CODE             the script; 128 + n: by signal n
//   timed_out              the script was killed
//   trouble WHY            it can't be started at all
//
// Thread: one; blocks.

#include "replicator/base/start_step.hpp"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace farshore::rehearsal {

struct script_user {
    std::string name;
    uid_t uid = 0;
    gid_t gid = 0;
};

struct script_plan {
    std::vector<start_step> steps;
    std::vector<std::string> run;
    duration timeout = std::chrono::minutes(30);
    std::vector<std::string> environment; ///< "NAME=VALUE"
    std::string directory;                ///< where they run
    std::optional<script_user> user = {}; ///< nothing: ours
};

class script_runner {
  public:
    /// `output`: a descriptor that all of them write to. Both references outlive it.
    script_runner(const script_plan &plan, int output,
                  const std::function<void(const std::string &)> &tell);
    void run();
    /// The steps alone; those that are up stay. False: one failed, and nothing further was started.
    bool start_steps();

  private:
    struct started {
        pid_t pid = -1;
        int failed = 0; ///< errno: it was not started
    };
    using when = std::chrono::steady_clock::time_point;

    bool run_step(const start_step &step);
    bool probed(const start_step &step, pid_t server, when until);
    void run_script();
    void stop_steps();
    void stop_group(pid_t group);
    started start(const std::vector<std::string> &words);
    /// Its exit code, 128 + n after signal n; nothing when it is late.
    std::optional<int> wait_for(pid_t pid, when until);
    void reap();
    void pause(std::chrono::milliseconds time);

    const script_plan &plan_;
    int output_;
    const std::function<void(const std::string &)> &tell_;
    std::map<pid_t, std::optional<int>> ours_; ///< and how they ended
    std::vector<pid_t> groups_;                ///< of steps, in their order
};

} // namespace farshore::rehearsal
