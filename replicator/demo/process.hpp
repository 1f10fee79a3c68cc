#pragma once
// Child processes of the demo: started with their output in files, ended for sure.

#include "replicator/base/error.hpp"

#include <chrono>
#include <string>
#include <sys/types.h>
#include <vector>

namespace farshore::demo {

/// A running program. Killed (SIGKILL) and reaped when the object goes; the kernel kills it too
/// when the demo itself dies.
class child {
  public:
    child() = default;
    ~child() { kill_now(); }
    child(child &&o) noexcept;
    child &operator=(child &&o) noexcept;

    /// `log` gets standard output and error. argv[0] is a path or found in PATH.
    static result<child> start(const std::vector<std::string> &argv, const std::string &log);

    bool running();
    void kill_now();
    /// SIGTERM, then SIGKILL when it is still there after `patience`. The exit code; -1 when it was
    /// killed or not running.
    int stop(std::chrono::milliseconds patience);
    pid_t pid() const { return pid_; }

  private:
    pid_t pid_ = -1;
};

/// Runs a program to its end. The exit code, -1 when it can't be started or took too long.
int run_program(const std::vector<std::string> &argv, const std::string &log,
                std::chrono::seconds patience);
/// Whether a program of that name is in PATH or /sbin:/usr/sbin.
bool have_program(const std::string &name);
/// The directory of this very program.
std::string own_directory();

} // namespace farshore::demo
