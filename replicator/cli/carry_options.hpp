#pragma once
// The words of `export`, `import` and `restore`.

#include "replicator/cli/cli_options.hpp"

namespace CLI {
class App;
} // namespace CLI

namespace farshore {

void add_carry_commands(CLI::App &app, invocation &inv);
bool is_carry_command(const std::string &command);

} // namespace farshore
