#pragma once
// Runs `test` in this process: a Ctrl-C ends the script, and the copy is dropped.

#include "replicator/cli/cli_options.hpp"
#include "replicator/cli/terminal.hpp"
#include "replicator/control/control.hpp"
#include "replicator/rehearsal/rehearsal.hpp"

#include <expected>

namespace farshore {

/// A usage failure names what is wrong; the script must be there.
std::expected<rehearsal::request, control::failure> test_request(const invocation &inv);
control::outcome run_test(const invocation &inv, const terminal &term);
/// 0 passed, 1 failed, 3 passed and not noted, 15 timed out.
int exit_of_test(const control::json &document);
/// One line for people.
std::string test_text(const control::json &document);

} // namespace farshore
