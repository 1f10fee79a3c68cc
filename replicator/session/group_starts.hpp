#pragma once
// The groups of a daemon start side by side, and the daemon is ready when all have, or when the
// slow ones had their time: a disk that does not answer keeps its own group from starting and no
// other.
//
// Threads: the home thread's.

#include "replicator/base/async.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/log.hpp"

#include <cstddef>
#include <utility>

namespace farshore {

/// How long a start waits for groups whose disks do not answer. Recovery of a large journal may
/// take longer too; such a group is `failed` with words until it is there.
constexpr duration group_start_patience = std::chrono::seconds(10);

class group_starts {
  public:
    explicit group_starts(task_group &tasks) : tasks_(tasks) {}

    void spawn(task<void> start) {
        ++running_;
        tasks_.spawn(count(std::move(start)));
    }
    /// Returns when all have started or failed, at the latest after `patience`.
    task<void> settle(time_source &time, duration patience) {
        const time_point until = time.now() + patience;
        while (running_ > 0 && !given_up_ && co_await ended_.wait_until(time, until)) {
        }
        if (running_ > 0 && !given_up_) {
            log::warning("{} group(s) have not started within {:.0f} s: their disks do not answer. "
                         "They are served when they do",
                         running_, seconds_of(patience));
        }
    }
    /// The daemon stops: settle() returns at once.
    void give_up() {
        given_up_ = true;
        ended_.notify_all();
    }

  private:
    task<void> count(task<void> start) {
        co_await std::move(start);
        --running_;
        ended_.notify_all();
    }

    task_group &tasks_;
    std::size_t running_ = 0;
    bool given_up_ = false;
    condition ended_;
};

} // namespace farshore
