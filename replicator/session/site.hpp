#pragma once
// A site: what a process has once, whichever halves of groups it holds. The state directory with
// its lock, whom it trusts, the network with its identity and the site's own files of [tls], the
// threads. A sender and a receiver are each built over one and know nothing of each other.
//
// Thread: home. Outlives what is built over it.

#include "replicator/base/async.hpp"
#include "replicator/roles/meeting.hpp"
#include "replicator/roles/role_steps.hpp"
#include "replicator/session/config.hpp"
#include "replicator/session/group_role.hpp"
#include "replicator/session/kept.hpp"
#include "replicator/session/network.hpp"
#include "replicator/session/pools.hpp"
#include "replicator/session/state_directory.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

class site {
  public:
    /// `tls`: the site's own files; absent: a certificate of its own, in the state directory.
    site(std::string state, std::optional<tls_files> tls, runtime run, file_system &files,
         std::vector<executor> nbd_loops);

    /// Before open(): another network than TLS; threads for each group and volume (pools.hpp),
    /// without which everything runs on the runtime's.
    void use_network(std::unique_ptr<network> net) { net_ = std::move(net); }
    void use_pools(pool_maker make) { pools_ = std::move(make); }

    /// Takes the state directory for this process, reads whom it trusts, loads or makes the
    /// identity; a site that is open stays so. errc::busy, errc::corrupt as state_directory::open.
    task<result<>> open();
    /// From now on, while anybody wants to know, the files of [tls] are read again every 10 s and
    /// at reload(). `changed`: who is trusted may be others, so that peers should prove themselves
    /// anew.
    void watch_files(const void *who, std::function<void()> changed);
    /// It is called no more; unwatched() before the last of them ends.
    void unwatch_files(const void *who);
    task<void> unwatched();
    void reload() { files_wanted_.notify_all(); }

    trust_mode mode() const { return tls_ ? trust_mode::site_ca : trust_mode::pinned; }
    kept<trust_store> &trust() { return state_.trust; }
    const kept<trust_store> &trust() const { return state_.trust; }
    network *net() { return net_.get(); } ///< null before open()
    /// What an operator should look at before it stops the pair.
    std::vector<std::string> warnings() const;

    /// Of a file of the daemon's own; of a group's directory.
    std::string path_of(const std::string &name) const { return join_path(path_, name); }
    std::string group_directory(const std::string &group) const;
    /// The group's role at this site, whichever halves ask: `otherwise`, and no file, before the
    /// first change of it. Errors as read_group_role. Lives as long as the site.
    task<result<kept<group_role> *>> role_of(std::string group, group_role otherwise);

    /// How the group's sites met last, as far as this process knows; nothing: they did not.
    void note_meeting(const std::string &group, last_meeting m) { meetings_[group] = std::move(m); }
    std::optional<last_meeting> meeting_of(const std::string &group) const {
        const auto at = meetings_.find(group);
        return at == meetings_.end() ? std::nullopt : std::optional(at->second);
    }
    /// `farshore reverse`, and `--keep there`: as role_steps.hpp has them.
    role_step reversal_of(const std::string &group, bool keep_there) const;

    const runtime &run() const { return run_; }
    runtime run_for_group(std::size_t groups) const {
        return runtime_for_group(run_, pools_, groups);
    }
    executor pool_for(std::size_t tenants) const {
        return farshore::pool_for(run_, pools_, tenants);
    }
    file_system &files() { return files_; }
    const std::vector<executor> &nbd_loops() const { return nbd_loops_; }

  private:
    task<void> watch();

    const std::string path_;
    const std::optional<tls_files> tls_;
    runtime run_;
    file_system &files_;
    std::vector<executor> nbd_loops_;
    pool_maker pools_;
    state_directory state_;
    std::unique_ptr<network> net_;
    bool open_ = false;
    std::map<std::string, std::unique_ptr<kept<group_role>>> roles_;
    std::map<std::string, last_meeting> meetings_;
    std::map<const void *, std::function<void()>> watchers_;
    condition files_wanted_; ///< SIGHUP, or nobody watches
    task_group tasks_;
};

} // namespace farshore
