#pragma once
// The command line of which points are kept and good: pin, unpin, forget, scrub, and
// `points --plan`.

#include "replicator/cli/cli_options.hpp"
#include "replicator/cli/cli_request.hpp"

namespace CLI {
class App;
}

namespace farshore {

void add_retention_commands(CLI::App &app, invocation &inv);
/// To the command `points`.
void add_plan_options(CLI::App &points, invocation &inv);
std::expected<control_request, control::failure> plan_request(const invocation &inv);

} // namespace farshore
