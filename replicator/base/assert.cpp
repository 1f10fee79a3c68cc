#include "replicator/base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace farshore {

void assertion_failed(const char *expression, std::source_location where) {
    std::fprintf(stderr, "%s:%u: %s: broken invariant: %s\n", where.file_name(),
                 static_cast<unsigned>(where.line()), where.function_name(), expression);
    std::abort();
}

} // namespace farshore
