#pragma once
// The two sites of the demo: directories, configurations, daemons.

#include "replicator/control/control.hpp"
#include "replicator/demo/process.hpp"

#include <array>
#include <atomic>
#include <string>

namespace farshore::demo {

using control::json;

/// Set by Ctrl-C; every wait of the demo looks at it.
extern std::atomic<bool> interrupted;

/// One daemon of the demo and the files around it.
class site {
  public:
    /// `role` is "sender" or "receiver".
    site(std::string role, std::string directory)
        : role_(std::move(role)), directory_(std::move(directory)) {}

    std::string config_path() const { return directory_ + "/" + role_ + ".toml"; }
    std::string socket() const { return directory_ + "/" + role_ + ".sock"; }
    std::string log_path() const { return directory_ + "/" + role_ + ".log"; }
    std::string state() const { return directory_ + "/" + role_ + "-state"; }

    /// Starts the daemon and waits until its control socket answers.
    result<> start();
    void kill() { process_.kill_now(); }
    /// In order; a failure when it did not end with 0.
    result<> stop();
    bool running() { return process_.running(); }
    /// A command at the daemon's socket. Ctrl-C ends the daemon and so the call.
    control::outcome ask(const std::string &command, const json &arguments);

  private:
    std::string role_;
    std::string directory_;
    child process_;
};

struct layout {
    std::string directory;
    std::array<std::string, 2> images;  ///< live volumes
    std::array<std::string, 2> sockets; ///< where they are served
    std::array<std::string, 2> uris;
    std::string replicas; ///< directory at the DR site
    std::uint16_t listen_port = 0;
    std::uint16_t relay_port = 0;

    std::string replica(std::size_t volume) const;
};

/// Makes the volumes and writes both configuration files.
result<layout> make_layout(const std::string &directory, std::uint16_t relay_port);
/// A port of 127.0.0.1 that is free now.
result<std::uint16_t> free_port();
/// SHA-256 of a whole file, as hexadecimal digits.
result<std::string> digest_of_file(const std::string &path);

} // namespace farshore::demo
