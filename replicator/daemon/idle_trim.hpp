#pragma once
// Gives freed memory back to the system once a daemon has become idle. While it works, the heap
// keeps it (see prepare_process in daemon.cpp), since faulting it in again costs more than the work
// itself.

#include "replicator/base/clock.hpp"

namespace farshore {

/// Decides when to trim, from samples of the process's CPU time. Pure.
class idle_detector {
  public:
    /// True once for each idle time: less than 2 % of a core since the last sample, after work.
    bool became_idle(time_point now, duration cpu_time);

  private:
    time_point last_{};
    duration last_cpu_{};
    bool first_ = true;
    bool worked_ = true;
};

/// CPU time of all threads so far.
duration process_cpu_time();

} // namespace farshore
