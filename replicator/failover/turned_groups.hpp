#pragma once
// At the primary's daemon: the groups that have followed once. Their volumes are the images of a
// copy from then on, whichever role the site has: a receiver of their own, without a listener,
// keeps it, they are served as any copy is (served_groups.hpp), and while they follow this site
// still dials (follower.hpp).
//
//   plain      `sender` has it: captured, no history at this site. One that was handed over
//              (sender/switchover.hpp) is turned by itself, over restarts too
//   turned     this has it; it never becomes plain again, for its copy keeps points
//
// `reverse` of a fenced plain group: the sender lets it go; a copy is made over its volumes, which
// counts as served; then the role. Cut off in between, the next start finds a plain group that is
// fenced, or a turned one that is, and `reverse` goes on from there.
//
// Thread: home.

#include "replicator/failover/follower.hpp"
#include "replicator/failover/served_groups.hpp"
#include "replicator/receiver/receiver.hpp"
#include "replicator/sender/sender.hpp"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace farshore {

class turned_groups {
  public:
    /// The groups of `config` that have a copy in its state directory. Blocks.
    static result<std::vector<std::string>> found(file_system &files, const sender_config &config);

    /// `plain` has the others of `config`. All outlive it. `boot_id`: a test's.
    turned_groups(sender &plain, std::shared_ptr<site> here, const sender_config &config,
                  const std::vector<std::string> &turned,
                  std::shared_ptr<application_host> applications, std::string boot_id = {});
    ~turned_groups(); ///< stop() must have completed

    task<result<>> start();
    void end_commands();
    task<void> stop();

    bool has(const std::string &group) const { return followers_.contains(group); }
    bool any() const { return !followers_.empty(); }
    /// Of groups that are served here, plain or turned.
    task<result<std::vector<switchover_outcome>>> switchover(std::vector<std::string> groups,
                                                             duration patience);
    /// `farshore reverse`: what this site alone has is kept as a pinned point, and it follows.
    /// errc::refused: it is not fenced.
    /// `keep_there`: also where the sites refused each other when they met last.
    task<result<>> reverse(std::string group, bool keep_there = false);
    /// As the sender's, in no order.
    std::vector<sender_group_status> status() const;

    receiver &copies() { return copies_; }
    served_groups &served() { return served_; }

  private:
    const sender_group_config *config_of(const std::string &group) const;
    void add_follower(const std::string &group);
    task<result<>> take_over(std::string group, std::optional<role_step> step);
    task<void> watch();
    follower_means means_of(const std::string &group);
    sender_group_status following(const sender_group_config &group,
                                  const receiver_group_status &copy) const;

    sender &plain_;
    std::shared_ptr<site> here_;
    sender_config config_;
    runtime run_;
    wire::id16 identity_{};
    std::uint64_t instance_;
    task_group tasks_;
    condition wanted_;
    bool ending_ = false;
    std::set<std::string> turning_; ///< take_over() is at it
    log::repeats failures_;
    std::map<std::string, std::unique_ptr<follower>> followers_; ///< one for each that is turned
    receiver copies_;
    served_groups served_;
};

} // namespace farshore
