#pragma once
// What both daemons are around their engine: threads, signals, control socket, service manager.
//
// Threads: `home` is the calling thread; one io_context with one thread a core for NBD connections;
// two disk threads for the daemon's own state; and for each group and each volume what the engine
// asks for (pool_maker): threads for what blocks on their disks, one for the codec below the
// priority of the others, one at theirs for what clients must not outrun.
//
// Stopping: the first SIGTERM or SIGINT stops in order within stop_within (drain to a durable point
// included), the second one ends the process at once. Order: clients of the control socket,
// commands, groups, network; each is joined before what it uses goes. SIGHUP has the engine read
// its files of [tls] again.

#include "replicator/base/async.hpp"
#include "replicator/control/control.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace farshore {

constexpr duration drain_max = std::chrono::seconds(6);    ///< handed to the engine
constexpr duration stop_within = std::chrono::seconds(10); ///< then the process ends anyway

/// An engine as the daemon sees it. All calls on home.
class service {
  public:
    virtual ~service() = default;
    virtual task<result<>> start() = 0;
    /// From now on commands end, new ones too, with the words of stopping_failure(). Returns at
    /// once.
    virtual void end_commands() = 0;
    /// Joins what commands left running, then stops groups, then the network: nothing that runs may
    /// use what is gone. After end_commands().
    virtual task<void> stop(duration drain) = 0;
    virtual task<control::outcome> run_command(std::string command, control::json arguments,
                                               control::progress_sink progress) = 0;
    /// SIGHUP: files that may be read again while it runs.
    virtual void reload() {}
    /// One line for the service manager.
    virtual std::string summary() const = 0;
};

/// More threads until the process ends, of that niceness (session/pools.hpp). On home.
using pool_maker = std::function<executor(std::size_t threads, int niceness)>;

using service_factory = std::function<std::unique_ptr<service>(
    runtime run, std::vector<executor> nbd_loops, pool_maker pools)>;

/// Runs until a signal. Returns the exit code: 0 after a stop in order; when the start fails, the
/// code of the failure (after nothing of it is left running).
int run_daemon(const std::string &control_path, const service_factory &make);

/// For main(): descriptors up to the hard limit, few malloc arenas (idle memory), no SIGPIPE.
void prepare_process();

} // namespace farshore
