#pragma once
// The failures of a full disk or a full `journal`, after which nothing is lost.

#include "replicator/base/error.hpp"

#include <cerrno>

namespace farshore {

inline bool wants_space(const error &e) { return is(e, errc::full) || is_errno(e, ENOSPC); }

} // namespace farshore
