#pragma once
// Other programs: started without a shell, with their words bounded and their time too. A program
// gets /dev/null as input, no file of ours, the default of every signal, and a process group of its
// own, so that what it started ends with it.
//
// Threads: any, one at a time for an object. What waits calls may_block().

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"

#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace farshore {

struct program_limits {
    duration patience = std::chrono::seconds(10);
    std::size_t output_bytes_max = 64 * 1024; ///< of each stream; what is beyond is dropped
};

struct program_end {
    int code = 0;           ///< exit code; 128 + n: ended by signal n
    bool timed_out = false; ///< and so ended by us
    std::string output;     ///< standard output
    std::string words;      ///< standard error
};

/// A program that runs beside us. Killed with all of its group when the object goes.
class program {
  public:
    /// argv[0] is a path or a name, which is looked for in PATH, /usr/sbin and /sbin. Errors:
    /// ENOENT and others of the start; the text names the program.
    static result<std::unique_ptr<program>> start(const std::vector<std::string> &argv);
    ~program();
    program(const program &) = delete;
    program &operator=(const program &) = delete;

    const std::string &name() const { return name_; }
    bool running();
    /// SIGTERM, then SIGKILL when it is still there after `patience`. False: it can't be ended, for
    /// it waits in the kernel; it is left alone.
    bool stop(duration patience);
    /// What it wrote to standard error since the last call, as far as a pipe holds it.
    std::string words();
    std::string output(); ///< likewise, to standard output
    /// Its exit code, 128 + n after signal n, once running() was false.
    std::optional<int> code() const { return code_; }

  private:
    friend result<program_end> run_program(const std::vector<std::string> &, program_limits);
    program(std::string name, pid_t pid, unique_fd handle, unique_fd output, unique_fd words);
    static result<std::unique_ptr<program>> start(const std::vector<std::string> &argv,
                                                  bool never_waits);
    bool wait(duration patience);
    void kill_group(int signal);

    std::string name_;
    pid_t pid_;
    unique_fd handle_; ///< pidfd: readable once it ended
    unique_fd output_;
    unique_fd words_;
    std::optional<int> code_; ///< it was reaped
};

/// Runs one to its end, or to the end of patience. Errors: it can't be started, or can't be ended.
/// An exit code other than 0 is no error here: failed() is for who expects 0.
result<program_end> run_program(const std::vector<std::string> &argv, program_limits limits = {});

/// In words for the operator, with what the program said. Empty: it ended with 0 in time.
std::string failure_of(const std::string &name, const program_end &end);

} // namespace farshore
