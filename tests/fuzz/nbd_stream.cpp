// Any bytes that a client could send, from its flags to its requests, through all that parses and
// decides: no socket, one device in memory. The device aborts on a request that validation should
// have stopped, so a hole there is found as well as a bad read of memory.

#include "replicator/base/limits.hpp"
#include "replicator/nbd/negotiation.hpp"
#include "replicator/nbd/reply.hpp"
#include "tests/support/memory_device.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

using namespace farshore;
using namespace farshore::nbd;

namespace {

using exports = std::vector<export_entry>;

/// The options at the front of `in`; true when requests follow.
bool negotiate(negotiation &state, byte_reader &in) {
    const auto flags = in.structure<be32>();
    if (!flags || !state.accept_client_flags(*flags)) {
        return false;
    }
    for (;;) {
        const auto header = in.structure<option_header>();
        if (!header || header->magic != option_magic) {
            return false;
        }
        byte_vector replies;
        if (header->length > limits::nbd_option_bytes_max) {
            negotiation::refuse_size(header->option, replies);
            continue;
        }
        const auto data = in.bytes(header->length);
        if (!data) {
            return false;
        }
        const auto outcome = state.handle_option(header->option, *data, replies);
        REPL_ASSERT(replies.size() < 64 * limits::KiB);
        if (outcome != negotiation::outcome::more) {
            return outcome == negotiation::outcome::transmit;
        }
    }
}

void serve(const export_entry &entry, const export_facts &facts, byte_reader &in) {
    for (;;) {
        const auto header = in.bytes(sizeof(request_header));
        if (!header) {
            return;
        }
        const auto r = parse_request(*header);
        if (!r || r->type == command_disconnect) {
            return;
        }
        bytes_view payload;
        if (r->type == command_write && !in.try_bytes(r->length, payload)) {
            return;
        }
        const wire_error verdict = validate_request(*r, facts);
        std::array<std::byte, error_reply_bytes_max> room;
        if (verdict != wire_error::none) {
            REPL_ASSERT(write_error_reply(room, *r, facts.structured, verdict) <= room.size());
            continue;
        }
        const reply_bytes reply = run_request(*entry.device, *r, payload, facts);
        REPL_ASSERT(!reply.head.empty() || !reply.body.empty());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    static const exports all = [] {
        auto frozen = std::make_shared<test::memory_device>(4097);
        frozen->writable = false;
        frozen->dirty_context = false;
        return exports{{"data", "a disk", std::make_shared<test::memory_device>(200'001)},
                       {"frozen", "", std::move(frozen)}};
    }();
    byte_reader in(std::as_bytes(std::span(data, size)));
    negotiation state(all);
    if (negotiate(state, in)) {
        serve(state.chosen(), state.facts(), in);
    }
    return 0;
}
