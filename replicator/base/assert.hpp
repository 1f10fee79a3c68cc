#pragma once
// Programmer errors. REPL_ASSERT stays on in release builds: a replication engine that goes on
// after a broken invariant writes wrong bytes at the other site.

#include <source_location>

namespace farshore {
[[noreturn]] void assertion_failed(const char *expression, std::source_location where);
}

#define REPL_ASSERT(expression)                                                                    \
    (static_cast<bool>(expression)                                                                 \
         ? static_cast<void>(0)                                                                    \
         : ::farshore::assertion_failed(#expression, std::source_location::current()))
