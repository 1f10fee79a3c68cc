#pragma once
// A command line as the request that a daemon gets, with the units turned into numbers. Pure.

#include "replicator/apps/check.hpp"
#include "replicator/apps/cli_options.hpp"
#include "replicator/control/control.hpp"

#include <expected>
#include <string>

namespace farshore::apps {

struct control_request {
    std::string command;
    control::json arguments;
};
/// A usage failure names the option whose value can't be read.
std::expected<control_request, control::failure> request_of(const invocation &inv);
std::expected<check_limits, control::failure> check_limits_of(const invocation &inv);

} // namespace farshore::apps
