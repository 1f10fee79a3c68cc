#pragma once
// The sender daemon's engine: groups with their capture devices, NBD servers, spools and sessions.
// Public face for the programs; everything behind it is in sender_group.hpp and below.
//
// Threads: every method on the runtime's home executor.

#include "replicator/base/async.hpp"
#include "replicator/sender/served_half.hpp"
#include "replicator/sender/throttle.hpp"
#include "replicator/session/config.hpp"
#include "replicator/session/site.hpp"
#include "replicator/session/status.hpp"
#include "transport/link.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

/// Called now and then by commands that take long: bytes done, bytes in all.

struct sender_access;
class application_host;
class switchover_party;

class sender {
  public:
    /// `nbd_loops`: executors for NBD connections (one a core).
    sender(sender_config config, runtime run, file_system &files, std::vector<executor> nbd_loops);
    /// Over a site that others may use, too; `state` and `tls` of the configuration are the site's.
    sender(sender_config config, std::shared_ptr<site> here);
    ~sender(); ///< stop() must have completed

    /// Opens state (made at first start, identity included) and volumes, serves NBD, starts
    /// sessions. Groups start side by side; one whose disks do not answer is left starting after
    /// group_start_patience. On failure nothing is left running; the error names the object: a
    /// volume that is missing, locked by another daemon, read-only or of changed size; a state
    /// directory in use.
    task<result<>> start();
    /// Commands under way end soon, with an error; returns at once. stop() joins them.
    void end_commands();
    /// Before start(): threads for each group and volume (pools.hpp). Without it everything runs on
    /// the runtime's.
    void use_pools(pool_maker make);
    /// Before start(): who freezes applications for bookmarks. Without it no hook can be frozen.
    void use_applications(std::shared_ptr<application_host> applications);
    /// Before start(): the volumes of this group are the images of a promoted copy. Nobody is
    /// dialled for it.
    void use_half(const std::string &group, served_half half);
    /// The groups' roles may have changed (site::role_of): clients are served, or are not, as these
    /// say.
    void heed_roles();
    /// The other site follows this group and has dialled, in place of being dialled.
    void take_link(const std::string &group, std::unique_ptr<transport::link> control);
    void take_data_link(const std::string &group, std::unique_ptr<transport::link> link,
                        std::uint64_t session);
    wire::id16 identity() const; ///< after start()
    /// Of a group that is served. errc::not_found, errc::dead.
    result<std::vector<volume_status>> volumes(const std::string &group) const;
    /// No barrier of it has a higher id; 0: there is none.
    interval_id newest_barrier(const std::string &group) const;
    /// The group is stopped and forgotten, clients and all; its volumes and state are somebody
    /// else's from then on. errc::not_found.
    task<result<>> release(std::string group);
    /// What release() gave away is served again, soon.
    void take_back(const std::string &group);
    /// Stops: no new NBD clients, drain to a durable point for at most `drain`, close everything.
    task<void> stop(duration drain);

    void reload(); ///< SIGHUP: reads the files of [tls] again, now
    std::vector<sender_group_status> status() const;
    /// All commands: errc::not_found when there is no such group.
    task<result<wait_outcome>> wait(std::string group, bool durable_only, duration timeout);
    /// See bookmark_desk::make().
    task<result<bookmark_outcome>> bookmark(std::string group, bookmark_request wanted);
    task<result<>> pause(std::string group); ///< survives a restart
    task<result<>> resume(std::string group);
    /// Compares the whole group by digests and ships what differs; returns when it has begun.
    /// `full` ships everything, whatever the digests say.
    task<result<>> resync(std::string group, bool full);
    task<result<verify_outcome>> verify(std::string group, progress_report progress);
    /// Of a switchover (switchover.hpp); null: the group is not served. Not over a suspension but
    /// by switch_over().
    switchover_party *party(const std::string &group);
    /// `promote --force` of a group whose role was offered. errc::refused: it was not.
    task<result<std::string>> take_role_back(std::string group);
    /// Empty group: the daemon's whole use of the line, all groups together; else that group
    /// besides. nullopt rate: unlimited. `lasts`: an override that expires. Both survive a restart.
    task<result<>> throttle_set(std::string group, std::optional<std::uint64_t> bytes_per_second,
                                std::optional<duration> lasts);
    /// Empty group: the daemon has no cap; else back to the group's configured rate.
    task<result<>> throttle_clear(std::string group);
    /// The daemon's own; those of the groups are in their status.
    throttle_view throttle() const;
    /// Takes the token of an `invite`: stores the receiver's fingerprint and address, registers
    /// ours.
    task<result<peer_status>> join(std::string token);
    std::vector<peer_status> peers() const;
    task<result<>> unpair(std::string group);

  private:
    friend struct sender_access;
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace farshore
