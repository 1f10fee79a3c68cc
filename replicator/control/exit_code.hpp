#pragma once
// The contract's exit codes, and the one function that maps every failure to its stable word and
// code.

#include "replicator/base/error.hpp"
#include "replicator/control/control.hpp"

namespace farshore {

enum class exit_code : int {
    ok = 0,
    failed = 1,
    usage = 2, ///< or configuration
    partly = 3,
    not_found = 10,
    busy = 11,
    not_trusted = 12,
    would_lose_data = 13,
    not_in_sync = 14,
    timed_out = 15,
    interrupted = 130,
};

constexpr int value_of(exit_code c) { return static_cast<int>(c); }

/// The word that scripts see as error.code, with the exit code that belongs to it.
struct outcome_code {
    const char *word;
    exit_code exit;
};
outcome_code code_of(const std::error_code &code);

/// What went wrong, for people, without saying it twice.
std::string message_of(const error &e);
/// The failure as the control socket and the CLI show it.
control::failure failure_of(const error &e);
control::failure usage_failure(std::string message);

} // namespace farshore
