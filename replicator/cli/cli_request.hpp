#pragma once
// A command line as the request that a daemon gets, with the units turned into numbers. Pure.

#include "replicator/cli/check.hpp"
#include "replicator/cli/cli_options.hpp"
#include "replicator/control/control.hpp"

#include <expected>
#include <string>

namespace farshore {

struct control_request {
    std::string command;
    control::json arguments;
};
/// A usage failure names the option whose value can't be read.
std::expected<control_request, control::failure> request_of(const invocation &inv);
std::expected<check_limits, control::failure> check_limits_of(const invocation &inv);

/// Whole milliseconds of a time option, at least one.
std::expected<std::int64_t, control::failure> milliseconds_of(const char *option,
                                                              const std::string &text);

/// How long the CLI waits for the daemon, by command and --timeout. Table (the silence limit of
/// control.hpp holds always, so that a daemon that hangs is told from one that works):
///   check                               10 s, or --timeout
///   status --watch                      10 s each look, or --timeout
///   wait                                none, or --timeout and wait_grace (the daemon itself ends it in time)
///   bookmark, switchover                none: --timeout is the daemon's
///   verify, open, close, join           none, or --timeout; so export, import, restore, as a whole
///   all others                          30 s, or --timeout
std::expected<control::call_limits, control::failure> call_limits_of(const invocation &inv);
constexpr duration wait_grace = std::chrono::seconds(10);

} // namespace farshore
