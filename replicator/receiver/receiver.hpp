#pragma once
// The receiver daemon's engine: listener, groups with journal, replica and points, opened points.
//
// Threads: every method on the runtime's home executor.

#include "replicator/base/async.hpp"
#include "replicator/receiver/recovery_report.hpp"
#include "replicator/receiver/served_copy.hpp"
#include "replicator/session/config.hpp"
#include "replicator/session/site.hpp"
#include "replicator/session/status.hpp"
#include "replicator/session/trust.hpp"
#include "transport/link.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct receiver_access;

class receiver {
  public:
    receiver(receiver_config config, runtime run, file_system &files,
             std::vector<executor> nbd_loops);
    /// Over a site that others may use, too; `state` and `tls` of the configuration are the site's.
    receiver(receiver_config config, std::shared_ptr<site> here);
    ~receiver(); ///< stop() must have completed

    /// Opens state, recovers every group (roll back to the committed barrier, replay), listens.
    /// Groups as at the sender.
    task<result<>> start();
    /// Commands under way end soon; returns at once. stop() joins them.
    void end_commands();
    /// Before start(): threads for each group and volume (pools.hpp). Without it everything runs on
    /// the runtime's.
    void use_pools(pool_maker make);
    task<void> stop(duration drain);
    std::uint16_t port() const; ///< actually bound

    std::vector<open_invitation> invitations() const;
    task<result<>> revoke(std::string id); ///< of an invitation; errc::not_found
    void reload();                         ///< SIGHUP: reads the files of [tls] again, now
    std::vector<receiver_group_status> status() const;
    /// Adds to each group's status what is served of it.
    void use_served(std::function<void(receiver_group_status &)> describe);
    task<result<std::vector<point_info>>> points(std::string group);
    /// `point` as for open.
    task<result<point_info>> pin(std::string group, std::string point, bool pinned);
    task<result<point_info>> forget(std::string group, std::string point);
    // Rehearsals
    /// As pin: how one ended that was run on `point`, an id. Durable. errc::not_found.
    task<result<point_info>> note_test(std::string group, std::string point, test_info test);
    /// A scheduled one that could not be run, for the report. Durable.
    task<result<>> note_unrun(std::string group, test_info test);
    /// Of the configuration; none of a group that is not there.
    std::vector<start_step> start_steps(const std::string &group) const;
    /// When what a schedule asks for was last begun; nothing: never. errc::busy: there is no copy.
    task<result<std::optional<wall_time>>> begun(std::string group, std::string what);
    task<result<>> set_begun(std::string group, std::string what, wall_time at); ///< durable
    /// What is kept and what the record has since then; goes through the history.
    task<result<recovery_report>> report(std::string group, wall_time since);
    task<result<retention_outlook>> plan(std::string group, retention_trial trial);
    /// Reads everything; `wait`: returns what it found.
    task<result<std::optional<scrub_outcome>>> scrub(std::string group, bool wait,
                                                     progress_report progress);
    /// Waits until apply has reached what `point` means: `latest` is the newest durable barrier.
    task<result<>> reach(std::string group, std::string point, progress_report progress);
    /// Why no point is made of what arrives; for `points`.
    std::optional<std::string> held_back(const std::string &group) const;
    task<result<opened_point>> open(std::string group, open_request wanted);
    /// As open, on a socket that only this daemon's user and root can reach (a directory of mode
    /// 0700 beside the control socket); `wanted.nbd` is not looked at. Who asks closes it. With
    /// `mount_attached` it is mounted in its own directory, which goes with it.
    task<result<opened_point>> open_attached(std::string group, open_request wanted);
    /// Where the images of a group are or belong. errc::not_found.
    result<farshore::seed_target> seed_target(const std::string &group) const;
    std::vector<opened_point> opened() const;
    task<result<>> close(std::string id);
    /// `address`: what senders reach us at; goes into the token.
    // Roles: the site's for a group. Who serves the volumes of a promoted one is
    // failover/served_groups.hpp.
    /// Reaches `point` (as for open), begins a generation and makes the copy one whose volumes are
    /// to be served. errc::refused: the primary is connected and lives, unless `forced`, or the
    /// role forbids it; errc::not_in_sync: what is durable can't be
    /// applied; errc::dead: the role is changed, and the copy can't be opened now. Cancel it freely
    /// until it has the role.
    task<result<promote_outcome>> promote(std::string group, std::string point, bool forced,
                                          progress_report progress);
    /// The promotion is for good: the time before it may go as rules and space say.
    task<result<>> settle(std::string group);
    /// It is undone: the copy follows again, with what it held as a pinned point. Nobody serves its
    /// volumes any more.
    task<result<>> discard(std::string group);
    /// Of a fenced site, likewise.
    task<result<>> reverse(std::string group, role_step step);
    /// A group that the configuration did not have at the start. Its state directory may hold a
    /// copy. errc::invalid: there is one of that name.
    task<result<>> add_group(receiver_group_config group);
    // A site that follows has dialled, and this one serves: the links go to who serves.
    using take_link =
        std::function<void(const std::string &group, std::unique_ptr<transport::link>)>;
    using take_data_link = std::function<void(const std::string &group,
                                              std::unique_ptr<transport::link>, std::uint64_t)>;
    using may_serve_group = std::function<result<>(const std::string &group,
                                                   const std::vector<replica_volume> &volumes)>;
    /// `changed`: the role of a group is another by what the other site said. `may`: whether its
    /// volumes could be served here; asked before a role that is offered is taken.
    void use_followers(take_link control, take_data_link data, std::function<void()> changed,
                       may_serve_group may);
    // This site follows and dials (failover/follower.hpp).
    std::optional<std::vector<wire::volume_entry>> fed(const std::string &group) const;
    std::optional<wire::site_claim> claim(const std::string &group) const;
    /// Of a site that dials and follows: before it says what it is to one that hands its role over.
    task<result<>> meet_before(std::string group, role_state theirs);
    /// The copy of a group that nobody serves any more is as its role says. Nothing else.
    task<result<>> heed_role(std::string group);
    bool in_session(const std::string &group, std::uint64_t session) const;
    /// See receiver_group::attach; closes a link of a group that is not there.
    task<void> attach(std::string group, std::unique_ptr<transport::link> link, wire::hello hello,
                      std::optional<role_state> theirs);
    /// Nothing: it follows, or its copy can't be served now.
    std::optional<served_copy> serving(const std::string &group) const;
    task<result<invitation>> invite(std::string group, std::string address);
    std::vector<peer_status> peers() const;
    task<result<>> unpair(std::string group);

  private:
    friend struct receiver_access;
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace farshore
