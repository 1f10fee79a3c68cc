#pragma once
// The words of `test`.

#include "replicator/cli/cli_options.hpp"

namespace CLI {
class App;
} // namespace CLI

namespace farshore {

void add_test_command(CLI::App &app, invocation &inv);

} // namespace farshore
