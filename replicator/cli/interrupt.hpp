#pragma once
// Ctrl-C in the CLI: exit code 130, with the failure document when --json is on.

#include "replicator/cli/terminal.hpp"

namespace farshore {

/// From now on SIGINT and SIGTERM end the process with exit code 130.
void exit_on_interrupt(bool as_json, const terminal &term);

/// While one lives, the first SIGINT or SIGTERM only raises a flag, so that what is half done is
/// taken back; a second one ends the process as above.
class interrupt_flag {
  public:
    interrupt_flag();
    ~interrupt_flag();
    interrupt_flag(const interrupt_flag &) = delete;
    interrupt_flag &operator=(const interrupt_flag &) = delete;
    static bool raised();
};

} // namespace farshore
