#pragma once
// The words of `promote`, `commit` and `demote`.

#include "replicator/cli/cli_options.hpp"
#include "replicator/cli/cli_request.hpp"

#include <expected>

namespace CLI {
class App;
} // namespace CLI

namespace farshore {

void add_role_commands(CLI::App &app, invocation &inv);
bool is_role_command(const std::string &command);
std::expected<control_request, control::failure> role_request(const invocation &inv);
/// What `promote` and `switchover` have done, for people.
std::string role_text(const std::string &command, const control::json &document);

} // namespace farshore
