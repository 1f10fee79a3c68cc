#pragma once
// Bookmarks that a group makes by itself ([[group.bookmark]]). When one is due is the table of
// base/schedule.hpp; here it is begun, one at a time; what was due meanwhile is made once, late.
//
// What a schedule last did is kept with the names of bookmarks, so that a sender that was down
// catches up once. A bookmark that fails is said in the log and in `status`; the next one comes
// when it is due.
//
// Thread: home.

#include "replicator/sender/bookmark_desk.hpp"

#include <optional>
#include <string>
#include <vector>

namespace farshore {

class bookmark_schedule {
  public:
    bookmark_schedule(std::string group, std::vector<bookmark_config> made, runtime run,
                      bookmark_desk &desk, time_zone zone = local_zone);
    bookmark_schedule(const bookmark_schedule &) = delete;
    bookmark_schedule &operator=(const bookmark_schedule &) = delete;

    /// Now and then: begins what is due.
    void look();
    task<void> join() { return tasks_.join(); }

    /// Of the newest bookmark that failed, until one succeeds; with its name.
    const std::optional<std::string> &trouble() const { return trouble_; }

    /// How long a bookmark that is due waits for the group to be able to make one: half of `every`,
    /// at most schedule_patience_max.
    static duration patience(const bookmark_config &made);

  private:
    task<void> make(bookmark_config due);

    std::string group_;
    std::vector<bookmark_config> made_;
    runtime run_;
    bookmark_desk &desk_;
    time_zone zone_;
    task_group tasks_;
    bool busy_ = false;
    std::optional<std::string> trouble_;
};

constexpr duration schedule_patience_max = std::chrono::hours(1);

} // namespace farshore
