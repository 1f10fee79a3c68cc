// The envelope of a message: what is accepted is within the limits and has no reserved bit set.

#include "replicator/base/assert.hpp"
#include "transport/envelope.hpp"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    using namespace farshore;
    const auto parsed = transport::parse_envelope(std::as_bytes(std::span(data, size)));
    if (parsed) {
        REPL_ASSERT(size >= transport::envelope_bytes);
        REPL_ASSERT(parsed->length <= limits::message_bytes_max);
        REPL_ASSERT(parsed->reserved == 0 && parsed->type != 0);
    }
    return 0;
}
