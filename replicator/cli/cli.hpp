#pragma once
// The operator's CLI: `farshore`, and `farshore-throttle`, which is `farshore throttle` under its
// own name.

#include "replicator/cli/terminal.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace farshore {

enum class cli_program : unsigned char { farshore, throttle };

struct demo_options {
    bool keep = false; ///< leave the temporary directory
    std::chrono::seconds seconds{30};
    bool as_json = false;
};
/// Who plays `farshore demo` (demo/demo.hpp): it needs the CLI, and not the other way round.
using demo_player = int (*)(const demo_options &options, const terminal &term);

/// Runs one command line (without the program's name); returns the exit code of the contract.
int run_cli(cli_program program, const std::vector<std::string> &arguments, const terminal &term,
            demo_player play = nullptr);

} // namespace farshore
