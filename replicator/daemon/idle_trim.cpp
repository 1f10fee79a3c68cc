#include "replicator/daemon/idle_trim.hpp"

#include <ctime>

namespace farshore {

bool idle_detector::became_idle(time_point now, duration cpu_time) {
    const duration wall = now - last_;
    const duration cpu = cpu_time - last_cpu_;
    last_ = now;
    last_cpu_ = cpu_time;
    if (first_) {
        first_ = false;
        return false;
    }
    if (cpu * 50 >= wall) {
        worked_ = true;
        return false;
    }
    const bool became = worked_;
    worked_ = false;
    return became;
}

duration process_cpu_time() {
    timespec t{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

} // namespace farshore
