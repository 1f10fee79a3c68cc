#pragma once
// The groups whose copies this site serves, after a promotion or a change of role: over the copy
// of each the sender's half (capture, NBD servers, the stream to who follows), in the same process.
// The receiver says which copies are to be served (receiver::serving); this follows it, whatever
// opens, fails or turns a copy.
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

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct served_means {
    /// Of a group that the receiver has; nothing: it is not to be served here. Before a promotion
    /// changes anything it is asked with the volumes as they are. errc::invalid, in words.
    std::function<result<sender_group_config>(const std::string &group,
                                              const std::vector<replica_volume> &volumes)>
        half;
    std::function<std::optional<duration>(const std::string &group)> commit_after;
    std::function<std::vector<std::string>()> groups; ///< now
    bool dials = false; ///< this site connects to the other one, which `peer` says
    std::uint64_t memory_bytes_max = 512ULL << 20; ///< of the daemon
    std::uint32_t links = 4;
    std::optional<tls_files> tls = {};
    std::shared_ptr<application_host> applications = {}; ///< may be null
    std::string boot_id = {};                            ///< a test's; empty: the machine's
};
/// Of a DR site: each volume where `serve` says. An empty `serve` is for tests, which write to the
/// devices.
served_means served_means_of(const receiver_config &config, bool in_test = false);

/// The answer to `promote --force` where a role was in doubt (sender::take_role_back).
promote_outcome role_taken_back(std::string group, std::string generation);

class served_groups {
  public:
    /// All outlive it.
    served_groups(receiver &engine, std::shared_ptr<site> here, served_means means);
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
    /// `farshore reverse` of a fenced site: what it alone has is kept as a point, and it follows.
    /// `keep_there`: also where the sites refused each other when they met last.
    task<result<>> reverse(std::string group, bool keep_there = false);
    /// As `farshore switchover` has it, at the site that serves (sender/switchover.hpp).
    task<result<std::vector<switchover_outcome>>> switchover(std::vector<std::string> groups,
                                                             duration patience);
    /// The sender's half of a group that is served now, or null. Not over a suspension.
    sender *half(const std::string &group) const;

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
        std::string failure;    ///< why it is not served; empty: it is, or nobody wants it
        bool held = false;      ///< a command ends it: it is not begun
        bool beginning = false; ///< of who waits until nobody uses the copy
    };

    task<void> watch();
    task<void> follow(std::string group);
    task<result<>> begin(const std::string &group, const served_copy &of, slot &at);
    task<void> end(const std::string &group, slot &at);
    task<void> settle_late(const std::string &group, const served_copy &of);
    task<result<>> stop_serving(std::string group, std::function<task<result<>>()> then);

    receiver &engine_;
    std::shared_ptr<site> here_;
    served_means means_;
    runtime run_;
    std::map<std::string, slot> slots_;
    condition wanted_; ///< somebody waits for it to follow
    condition moved_;  ///< something began, ended or failed
    commands_under_way commands_;
    task_group tasks_;
    bool ending_ = false;
};

} // namespace farshore
