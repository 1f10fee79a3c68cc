#pragma once
// Our NBD server: fixed newstyle, the way in for clients' reads and writes at the primary and the
// way out for recovery points at the DR site. In the write path, so tracking is atomic with the
// write.
//
// Threads: connections are spread over the given executors, each on one of them for life. What
// would block runs on the disk executor. Requests of one connection may be answered out of order.
//
// Bounds: limits::nbd_*, and client_bounds for what all servers of a daemon share. A client that
// hangs up, stalls, or sends garbage at any point costs only its own connection.

#include "replicator/base/async.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/memory_account.hpp"
#include "replicator/storage/block_device.hpp"

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace farshore::nbd {

struct export_entry {
    std::string name;
    std::string description;
    std::shared_ptr<block_device> device;
};

/// Where to listen: a Unix socket path, or a TCP host and port (port 0: any free one).
struct endpoint {
    std::string unix_path{}; ///< non-empty: Unix socket
    std::string host{};
    std::uint16_t port = 0;
};
/// "unix:/path", "tcp:HOST:PORT", "tcp:[::1]:PORT". errc::invalid says what is wrong.
result<endpoint> parse_endpoint(const std::string &text);
/// "nbd+unix:///NAME?socket=PATH" or "nbd://HOST:PORT/NAME", percent-encoded.
std::string export_uri(const endpoint &where, const std::string &export_name);

/// Places for connections, shared by all servers of a daemon: each has a reserve that the clients
/// of no other can take (base/shares.hpp). Thread-safe; a mutex, taken when a client comes or goes.
class client_places {
  public:
    explicit client_places(std::size_t max) : pool_(max) {}

    share_pool::tenant join() {
        const std::lock_guard lock(mutex_);
        return pool_.join();
    }
    void leave(share_pool::tenant server) {
        const std::lock_guard lock(mutex_);
        pool_.leave(server);
    }
    bool take(share_pool::tenant server) {
        const std::lock_guard lock(mutex_);
        return pool_.take(server, 1);
    }
    void give(share_pool::tenant server) {
        const std::lock_guard lock(mutex_);
        pool_.give(server, 1);
    }
    std::size_t max() const { return pool_.total(); }

  private:
    std::mutex mutex_;
    share_pool pool_;
};

/// What bounds the clients of a server together with those of others.
struct client_bounds {
    std::shared_ptr<memory_account::share> memory; ///< of the group
    std::shared_ptr<client_places> places;         ///< of the daemon
};
/// Places of a daemon: 64 a volume up to nbd_connections_max, four a volume when it has many, as
/// far as its descriptors reach (some are kept for files, links and the control socket).
constexpr std::size_t places_of_volume = 64;
constexpr std::size_t places_for(std::size_t volumes, std::uint64_t descriptors) {
    const std::uint64_t wanted =
        std::min<std::uint64_t>(places_of_volume * std::max<std::size_t>(volumes, 1),
                                std::max<std::uint64_t>(limits::nbd_connections_max, 4 * volumes));
    const std::uint64_t kept = 128 + 6 * static_cast<std::uint64_t>(volumes);
    const std::uint64_t left = descriptors > kept + 16 ? descriptors - kept : 16;
    return std::min<std::uint64_t>(left, wanted);
}
/// The places of this daemon by its limit of descriptors; says so when they are fewer than it would
/// take.
std::shared_ptr<client_places> make_client_places(std::size_t volumes);
/// Those of a process that sets none: tests, tools.
client_bounds default_client_bounds();

class server {
  public:
    /// `exports` is not empty; a single one is also the default export "". `loops` are the
    /// executors for connections (at least one), `disk` the pool for what blocks.
    server(std::vector<export_entry> exports, std::vector<executor> loops, executor disk,
           client_bounds bounds = default_client_bounds());
    ~server(); ///< close() must have completed

    /// Binds and accepts. A stale Unix socket (nobody answers) is replaced; one that answers fails
    /// with errc::busy. The socket's mode is 0600.
    result<> listen(const endpoint &where);
    /// The port actually bound (TCP).
    std::uint16_t port() const;

    /// Accepts nothing more, finishes requests in flight (at most `grace`), closes all connections,
    /// removes the Unix socket. Call once, from a coroutine on any executor.
    task<void> close(duration grace);

    std::size_t connections() const; ///< open now; thread-safe

  private:
    struct impl;
    std::shared_ptr<impl> impl_;
};

} // namespace farshore::nbd
