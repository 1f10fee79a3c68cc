#pragma once
// How a rehearsal ended, from what its runner told and its scripts printed. Pure.

#include "replicator/base/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace farshore::rehearsal {

enum class ending : std::uint8_t {
    none,      ///< the runner ended without a word
    passed,    ///< the script ended with 0
    failed,    ///< with another code
    step,      ///< a step of the runbook failed; the script was not begun
    timed_out, ///< the script was killed
    trouble    ///< it could not be run at all: says nothing of the copy
};

struct verdict {
    ending how = ending::none;
    std::string why; ///< one line; empty: passed
};

class verdict_maker {
  public:
    /// A line of script_runner.hpp. True: nothing more is to come that counts.
    bool hear(const std::string &line);
    /// `timeout`: of the script, for the words.
    verdict made(duration timeout) const;
    bool script_begun() const { return script_begun_; }
    const std::string &step() const { return step_; } ///< that was begun last

  private:
    ending how_ = ending::none;
    std::string words_;
    std::string step_;
    bool script_begun_ = false;
};

/// The last lines of an output, in bounded memory.
class last_lines {
  public:
    void add(const std::string &piece);
    /// At most 20 lines and `bytes_max` bytes, whole lines where it can be.
    std::string text(std::size_t bytes_max) const;

  private:
    std::string kept_;
};

} // namespace farshore::rehearsal
