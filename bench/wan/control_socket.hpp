#pragma once
// A Unix socket that takes one command a line and answers one line each, for programs with a poll
// loop of their own. One thread; never blocks.

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"

#include <functional>
#include <poll.h>
#include <string>
#include <vector>

namespace farshore::wan {

class control_socket {
  public:
    static constexpr std::size_t line_bytes_max = 4096;
    static constexpr std::size_t clients_max = 16;
    using handler = std::function<std::string(const std::string &line)>;

    /// Listens at `path` (replacing a stale socket) with owner-only access.
    static result<control_socket> listen(const std::string &path);

    void add_to(std::vector<pollfd> &polled) const;
    /// Reads what has come from any client and answers each whole line.
    void serve(const handler &answer);

  private:
    struct client {
        unique_fd fd;
        std::string text;
    };
    static bool serve_client(client &c, const handler &answer);

    unique_fd listener_;
    std::vector<client> clients_;
};

} // namespace farshore::wan
