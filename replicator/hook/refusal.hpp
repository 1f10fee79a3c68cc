#pragma once
// An error whose text says all: a refusal by a rule of ours, an answer of an application.

#include "replicator/base/error.hpp"

#include <string>
#include <utility>

namespace farshore::hook {

inline std::unexpected<error> refusal(std::string text) {
    return fail(std::error_code{}, std::move(text));
}

/// A wait that ended early, with what was waited for; other errors as they are.
inline error waiting_for(const std::string &what, error e) {
    if (e.code == errc::timeout && e.context.empty()) {
        return error{std::error_code{}, "the time was over while waiting for " + what};
    }
    return e;
}

} // namespace farshore::hook
