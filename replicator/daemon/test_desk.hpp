#pragma once
// The rehearsals of [[group.test]]: each is run at its times by `farshore test` as a child of this
// daemon, so that there is one way to run them. One at a time a group, in the order in which they
// come due; what was missed is done once (base/schedule.hpp).
//
// That one began is durable before it begins: a crash in its middle does not begin it again. Its
// result is noted by the child, on its point. While a group has no point, none is begun.
//
// Thread: home; what blocks runs on the disk pool.

#include "replicator/base/async.hpp"
#include "replicator/base/program.hpp"
#include "replicator/receiver/receiver.hpp"
#include "replicator/session/config.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

class test_desk {
  public:
    /// The engine outlives it. `socket`: of the daemon's own control.
    test_desk(receiver &engine, const receiver_config &config, runtime run, std::string socket);
    /// Once the engine has started.
    void start();
    /// What runs is ended soon; join() waits for it.
    void end();
    task<void> join() { return tasks_.join(); }

    /// The words of the child. Pure.
    static std::vector<std::string> words_of(const std::string &program, const std::string &socket,
                                             const std::string &group, const test_config &test);

  private:
    struct planned {
        test_config test;
        bool known = false;            ///< `last` was read
        std::optional<wall_time> last; ///< as settled
        wall_time due{};
    };
    struct group_tests {
        std::string group;
        std::vector<planned> tests;
    };

    task<void> live(std::shared_ptr<group_tests> g);
    /// False: the group has no copy or no point now.
    task<bool> look(group_tests &g);
    task<void> rehearse(const std::string &group, planned &p);
    task<void> follow(const std::string &group, const planned &p, std::shared_ptr<program> child);
    /// Says so, and where an auditor looks, too.
    task<void> not_run(const std::string &group, const planned &p, std::string why);
    bool has_point(const std::string &group) const;
    task<void> sleep(duration most);

    receiver &engine_;
    runtime run_;
    std::string program_;
    std::string socket_;
    std::vector<std::shared_ptr<group_tests>> groups_;
    bool ending_ = false;
    condition ended_;
    task_group tasks_;
};

} // namespace farshore
