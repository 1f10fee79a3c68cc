#pragma once
// The operator's way into a daemon: a Unix socket (mode 0600) that carries one JSON request a line
// and answers with JSON lines.
//
//   request:  {"command": "wait", "arguments": {"group": "shop", "timeout_ms": 60000}}
//   progress: {"progress": {...}}          zero or more, for commands that take long
//   result:   {"result": {...}}            or
//   failure:  {"error": {"code": "busy", "message": "..."}, "exit": 11}
//
// Bounds: limits::control_line_bytes_max, control_clients_max, JSON nesting of 32.

#include "replicator/base/async.hpp"
#include "replicator/base/error.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
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

/// Sends a progress document to the client; cheap to ignore. Valid until the handler returns.
using progress_sink = std::function<void(json)>;
/// Runs one command. Runs on the server's executor; several at once. Cancelled when the client hangs up.
using handler = std::function<task<outcome>(std::string command, json arguments, progress_sink progress)>;

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

/// Client for the CLI: blocking. `on_progress` gets progress documents. A failure with exit 1 and code
/// "no_daemon" when nobody listens.
outcome call(const std::string &socket_path, const std::string &command, const json &arguments,
             const std::function<void(const json &)> &on_progress);

} // namespace farshore::control
