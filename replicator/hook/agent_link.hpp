#pragma once
// A connection to a QEMU guest agent: JSON lines over a Unix socket of QEMU, which takes one client
// at a time. What an earlier client left unread is passed over by guest-sync-delimited.

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/hook/tether.hpp"

#include <nlohmann/json.hpp>

#include <string>

namespace farshore::hook {

class agent_link {
  public:
    /// Connected and in step with the agent.
    static result<agent_link> open(const std::string &socket, const tether &t);
    /// Likewise, with a command sent on behind the first word, so that an agent that hangs finds it
    /// when it goes on. Its value is the command's.
    static result<nlohmann::json> open_with(const std::string &socket, const tether &t,
                                            const std::string &command);

    /// What a command returned. Errors: the agent's words; a reply that is none or too long.
    result<nlohmann::json> command(const tether &t, const std::string &name);

  private:
    static result<agent_link> connect(const std::string &socket, const tether &t);
    result<> send(const tether &t, const std::string &text);
    result<std::string> line(const tether &t);
    result<nlohmann::json> reply(const tether &t, const std::string &name);
    result<> await_step(const tether &t);

    unique_fd fd_;
    std::string kept_;
    std::int64_t step_ = 0; ///< the number of our guest-sync-delimited
};

/// The line answers our guest-sync-delimited; what stands before its delimiter is an earlier
/// client's.
bool agent_in_step(const std::string &line, std::int64_t step);
/// What the line says that a command returned. Errors: the agent's words; a line that is no reply.
result<nlohmann::json> agent_value(const std::string &line, const std::string &command);

} // namespace farshore::hook
