#pragma once
// Runs `export`, `import` and `restore` in this process, with progress and a Ctrl-C that cleans up.

#include "replicator/cli/cli_options.hpp"
#include "replicator/cli/terminal.hpp"
#include "replicator/control/control.hpp"

namespace farshore {

/// The final document, or the failure. Progress goes to the terminal, or with --json as JSON lines
/// to where the document goes.
control::outcome run_carry(const invocation &inv, const terminal &term);
/// Standard output belongs to the data: documents go to standard error.
bool streams_to_output(const invocation &inv);
/// One line for people.
std::string carry_text(const invocation &inv, const control::json &document);

} // namespace farshore
