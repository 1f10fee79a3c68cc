#pragma once
// Bookmarks of a group at the primary: a named barrier, with the group's applications still around
// it or not. One at a time; others wait their turn.
//
//   name reserved, durable -> a consistent barrier can be cut -> hooks freeze, in order -> barrier
//   -> hooks are released, in reverse -> the label is settled and goes with the barrier -> the DR
//   site has it
//
// What is promised. Hooks are held for no longer than their own limits: while one freezes, nothing
// else is waited for, and the barrier is cut at once. When one fails, those that are frozen are
// released, and the barrier is cut nevertheless: its kind is crash, and its label says why. An
// order that is lost before the DR site holds the barrier takes the bookmark with it: an error.
//
// While the line is down the barrier waits in the spool, with its label. In `tracking` and during a
// catch-up no barrier is a point: the bookmark waits for the next one that can be, and nothing is
// frozen until then.
//
// Thread: home.

#include "replicator/sender/bookmark_names.hpp"
#include "replicator/sender/hooks.hpp"
#include "replicator/sender/pipeline.hpp"
#include "replicator/sender/site_link.hpp"
#include "replicator/session/kept.hpp"
#include "replicator/session/status.hpp"
#include "transport/fifo_lock.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace farshore {

struct bookmark_options {
    std::string group;
    std::string state_directory;                              ///< of the group
    std::vector<std::pair<std::string, std::string>> volumes; ///< name, path
    std::vector<hook_config> hooks;
    std::shared_ptr<application_host> applications; ///< null: no hook can be frozen
};

class bookmark_desk {
  public:
    bookmark_desk(bookmark_options options, runtime run, file_system &files, pipeline &stream,
                  site_link &site, condition &progress);
    bookmark_desk(const bookmark_desk &) = delete;
    bookmark_desk &operator=(const bookmark_desk &) = delete;

    /// Reads the names that are taken.
    task<result<>> open(file_system &files);
    /// Bookmarks under way end soon; what is frozen is released first.
    void end() { ending_ = true; }
    bool ending() const { return ending_; }
    task<void> join() { return tasks_.join(); }

    /// errc::invalid, errc::busy (the name is taken), errc::not_in_sync (no barrier can be a point
    /// now, or its stream was lost), errc::timeout: nothing is bookmarked; but for a timeout after
    /// the barrier was cut, whose words say so. `durable` is false when the DR site is not
    /// connected: it gets the bookmark with the backlog.
    task<result<bookmark_outcome>> make(bookmark_request wanted);

    kept<bookmark_names> &names() { return names_; }
    const std::vector<hook_config> &hooks() const { return options_.hooks; }

  private:
    /// Of one bookmark, while its applications are still.
    struct frozen {
        std::vector<std::unique_ptr<held_application>> held;
        std::vector<hook_result> results; ///< of `held`, in the same order, then of what failed
        std::string failed;               ///< why one is not still
    };
    struct cut_point {
        barrier_info barrier;
        std::uint64_t epoch = 0;
        point_label label;
        std::string why_not_app; ///< it was wanted, and is not
    };

    result<std::string> check(const bookmark_request &wanted) const;
    task<result<cut_point>> cut(bookmark_request wanted, std::string name, time_point deadline);
    task<result<>> until_possible(time_point deadline);
    task<frozen> freeze(std::string name);
    task<std::vector<hook_result>> release(frozen &still);
    task<result<bookmark_outcome>> until_there(cut_point made, time_point deadline);
    bool possible() const;

    bookmark_options options_;
    runtime run_;
    pipeline &stream_;
    site_link &site_;
    condition &progress_; ///< of the group: something that is waited for may have come
    kept<bookmark_names> names_;
    transport::fifo_lock turn_;
    task_group tasks_;
    bool ending_ = false;
};

/// Pure: the label, from what the hooks answered. app: it was asked for.
point_label settle_label(const std::string &name, const bookmark_request &wanted,
                         std::vector<hook_result> results);

} // namespace farshore
