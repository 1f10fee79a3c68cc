#pragma once
// Our NBD server: fixed newstyle, the way in for clients' reads and writes at the primary and the
// way out for recovery points at the DR site. In the write path, so tracking is atomic with the
// write.
//
// Threads: connections are spread over the given executors, each on one of them for life. What
// would block runs on the disk executor. Requests of one connection may be answered out of order.
//
// Bounds: limits::nbd_*. A client that hangs up, stalls, or sends garbage at any point costs only
// its own connection.

#include "replicator/base/async.hpp"
#include "replicator/base/error.hpp"
#include "replicator/storage/block_device.hpp"

#include <memory>
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

class server {
  public:
    /// `exports` is not empty; a single one is also the default export "". `loops` are the executors
    /// for connections (at least one), `disk` the pool for what blocks.
    server(std::vector<export_entry> exports, std::vector<executor> loops, executor disk);
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
