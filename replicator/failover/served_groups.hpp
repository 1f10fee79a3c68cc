#pragma once
// The groups that this DR site serves after a promotion: over the copy of each the sender's half
// (capture and NBD servers), in the receiver's process. The receiver says which copies are to be
// served (receiver::serving); this follows it, whatever opens, fails or turns a copy.
//
//   wanted  served  what is done
//   yes     no      capture over the copy's images, volumes at `serve`; tried again after a failure
//   yes     another the one is ended, then as above: the copy was opened anew
//   no      yes     clients are ended, the maps closed
//
// What clients write may differ from what the other site has: maps of a new generation begin with
// what the history has after the fork (replica_group::each_change_after).
//
// Thread: home.

#include "replicator/base/async.hpp"
#include "replicator/receiver/receiver.hpp"
#include "replicator/sender/sender.hpp"
#include "replicator/session/commands_under_way.hpp"

#include <map>
#include <memory>
#include <string>

namespace farshore {

class served_groups {
  public:
    /// All outlive it. `boot_id`: a test's; empty: the machine's.
    served_groups(receiver &engine, std::shared_ptr<site> here, receiver_config config,
                  std::string boot_id = {});
    ~served_groups(); ///< stop() must have completed

    void start();
    /// Commands under way end soon; clients are ended; returns when nobody uses a copy.
    void end_commands();
    task<void> stop();

    /// As receiver::promote, and the volumes are served on return. errc::dead: promoted, and they
    /// can't be served now; tried again by itself.
    task<result<promote_outcome>> promote(std::string group, std::string point, bool forced,
                                          progress_report progress);
    task<result<>> settle(std::string group); ///< `farshore commit`
    /// `farshore demote --discard`: ends clients, and the copy follows again.
    task<result<>> discard(std::string group);

    /// Adds what is served to the receiver's status.
    void describe(receiver_group_status &s) const;
    /// For tests and the simulation; null: not served now.
    std::shared_ptr<block_device> device(const std::string &group, volume_index v) const;

  private:
    struct served {
        std::shared_ptr<replica_group> copy;
        std::unique_ptr<sender> half;
        std::map<std::string, std::string> uris; ///< of volumes
    };
    struct slot {
        std::unique_ptr<served> now;
        std::string failure; ///< why it is not served; empty: it is, or nobody wants it
        bool held = false;   ///< a command ends it: it is not begun
    };

    const receiver_group_config *config_of(const std::string &group) const;
    task<void> watch();
    task<void> follow(const receiver_group_config &group);
    task<result<>> begin(const receiver_group_config &group, const served_copy &of, slot &at);
    task<void> end(const std::string &group, slot &at);
    task<void> settle_late(const receiver_group_config &group, const served_copy &of);

    receiver &engine_;
    std::shared_ptr<site> here_;
    receiver_config config_;
    std::string boot_id_;
    runtime run_;
    std::map<std::string, slot> slots_;
    condition wanted_; ///< somebody waits for it to follow
    condition moved_;  ///< something began, ended or failed
    commands_under_way commands_;
    task_group tasks_;
    bool ending_ = false;
};

} // namespace farshore
