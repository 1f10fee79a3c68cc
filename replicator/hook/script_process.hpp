#pragma once
// A script of the operator's, in a process group of its own: pipes for its words, a clean
// environment, none of our files, and the user that it shall run as.
//
// It does not die with us: the end of its input is what tells it to release, whatever ended us.

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/hook/tether.hpp"

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace farshore::hook {

struct script_plan {
    std::vector<std::string> words;
    std::vector<std::string> environment; ///< KEY=VALUE, beside PATH, HOME, USER, LOGNAME, LANG
    std::string user;                     ///< empty: as we are
};

class script_process {
  public:
    /// Made, and waiting for go(): so that its group is known to others before it does anything.
    static result<script_process> prepare(const script_plan &plan);
    ~script_process(); ///< it is left alone, and its input closed
    script_process(script_process &&other) noexcept;
    script_process &operator=(script_process &&) = delete;

    pid_t group() const { return pid_; }
    result<> go();
    /// The next line of its output; no value at the end of it. Bounded over the script's life.
    result<std::optional<std::string>> line(const tether &t);
    result<> tell(const std::string &line);
    void close_input() { input_.reset(); }
    /// It ended: its exit code, 128 + N for signal N. Processes that it left in its group are
    /// killed.
    std::optional<int> ended();
    result<int> await_end(const tether &t);
    /// Kills the group.
    void kill();
    /// The end of what it wrote to standard error, for a message; may be empty.
    std::string last_words();

  private:
    script_process(pid_t pid, unique_fd go, unique_fd input, unique_fd output, unique_fd words);
    pid_t pid_;
    unique_fd go_;
    unique_fd input_;
    unique_fd output_;
    unique_fd words_;
    std::string kept_;
    std::size_t heard_ = 0;
    std::optional<int> code_;
};

/// Of a process that may not be our child any more: killed with its group if it is.
void kill_script(pid_t group);

} // namespace farshore::hook
