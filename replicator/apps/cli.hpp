#pragma once
// The operator's CLI: `farshore`, and `farshore-throttle`, which is `farshore throttle` under its
// own name.

#include "replicator/apps/terminal.hpp"

#include <string>
#include <vector>

namespace farshore::apps {

enum class cli_program : unsigned char { farshore, throttle };

/// Runs one command line (without the program's name); returns the exit code of the contract.
int run_cli(cli_program program, const std::vector<std::string> &arguments, const terminal &term);

} // namespace farshore::apps
