#pragma once
// The operator's way into a daemon: a Unix socket (mode 0600) that carries one JSON request a line
// and answers with JSON lines.
//
//   request:  {"command": "wait", "arguments": {"group": "shop", "timeout_ms": 60000}}
//   progress: {"progress": {...}}          zero or more, for commands that take long; an empty one each alive_every
//   result:   {"result": {...}}            or
//   failure:  {"error": {"code": "busy", "message": "..."}, "exit": 11}
//
// Bounds: limits::control_line_bytes_max, control_clients_max, JSON nesting of 32.

#include "replicator/base/async.hpp"
#include "replicator/base/error.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace farshore::control {

using json = nlohmann::json;

/// A failed command: `code` is the stable word of the contract, `exit` the exit code of the CLI.
struct failure {
    std::string code;
    std::string message;
    int exit = 1;
};
using outcome = std::expected<json, failure>;

/// What a client is told whose command a stop of the daemon ended.
inline failure stopping_failure() {
    return {"stopping",
            "the daemon stops; the command ended before it was done (run it again when the daemon "
            "is back)",
            1};
}

/// Sends a progress document to the client; cheap to ignore. Valid until the handler returns.
using progress_sink = std::function<void(json)>;
/// Runs one command. Runs on the server's executor; several at once. Cancelled when the client
/// hangs up.
using handler =
    std::function<task<outcome>(std::string command, json arguments, progress_sink progress)>;

class server {
  public:
    server(executor home, handler h);
    ~server(); ///< close() must have completed
    /// Replaces a stale socket; errc::busy when another daemon answers on it.
    result<> listen(const std::string &path);
    task<void> close();

  private:
    struct impl;
    std::shared_ptr<impl> impl_;
};

/// How long a call may take. No call is without a limit: while a command runs, the daemon says so
/// every alive_every, so that one that hangs is told from one that works.
struct call_limits {
    std::optional<duration> total;               ///< of the whole call
    duration silence = std::chrono::seconds(30); ///< nothing heard for so long
};
constexpr duration alive_every = std::chrono::seconds(5);

/// Client for the CLI: blocking. `on_progress` gets progress documents. A failure with exit 1 and
/// code "no_daemon" when nobody listens; exit 15 and code "timed_out", naming the socket, when a
/// limit passes.
outcome call(const std::string &socket_path, const std::string &command, const json &arguments,
             const std::function<void(const json &)> &on_progress, const call_limits &limits = {});

/// What a client makes of a progress document.
enum class call_goes_on : bool { no, yes };
/// As call(), for commands that last as long as their client: it hangs up, and returns null, as
/// soon as `on_progress` says no. `on_progress` may take its time, what the daemon says meanwhile
/// (a line each alive_every) waits in the socket.
outcome call_while(const std::string &socket_path, const std::string &command,
                   const json &arguments,
                   const std::function<call_goes_on(const json &)> &on_progress,
                   const call_limits &limits = {});

} // namespace farshore::control
