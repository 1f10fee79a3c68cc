// Fuzz target: the messages of a session. The first byte chooses one, the rest is its payload.
// Checks: what parses encodes to the same bytes, but for a peer's words, which are cleaned as they
// are parsed: there the parsed message is what its own encoding parses to. Beside it the header of
// the file of loans and of the map of an overlay.

#include "replicator/base/assert.hpp"
#include "replicator/format/loan_header.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/format/overlay_header.hpp"

#include <algorithm>
#include <array>
#include <cstring>

using namespace farshore;

namespace {

/// A message with words of a peer, cleaned by parse().
template <class Message>
concept has_words = requires(Message m) { m.text; } || requires(Message m) { m.secret; };

template <class Message>
void check(bytes_view payload) {
    const auto parsed = wire::parse<Message>(payload);
    if (!parsed) {
        return;
    }
    const auto bytes = wire::encode(*parsed);
    if constexpr (has_words<Message>) {
        const auto again = wire::parse<Message>(bytes.view());
        REPL_ASSERT(again && std::ranges::equal(wire::encode(*again).view(), bytes.view()));
    } else {
        REPL_ASSERT(std::ranges::equal(bytes.view(), payload));
    }
}

constexpr std::array checks = {
    check<wire::hello>,
    check<wire::welcome>,
    check<wire::refusal>,
    check<wire::ack>,
    check<wire::begin_stream>,
    check<wire::stream_ready>,
    check<wire::digest_request>,
    check<wire::digest_reply>,
    check<wire::loan_request>,
    check<wire::loan_reply>,
    check<wire::nak>,
    check<wire::heartbeat>,
    check<wire::verify_result>,
    check<wire::notice>,
    check<wire::compare_request>,
    check<wire::compare_reply>,
    check<wire::join_request>,
    check<wire::join_reply>,
    check<wire::extent_request>,
    check<wire::extent_reply>,
    check<wire::changed_request>,
    check<wire::changed_reply>,
    check<wire::site_claim>, // later ones at the end: the corpus counts on the order
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    byte_vector bytes(size - 1);
    if (!bytes.empty()) {
        std::memcpy(bytes.data(), data + 1, bytes.size());
    }
    checks[data[0] % checks.size()](bytes);
    if (const auto header = parse_loan_header(bytes)) {
        constexpr std::size_t used = 24;
        REPL_ASSERT(std::ranges::equal(bytes_view(encode_loan_header(*header)).first(used),
                                       bytes_view(bytes).first(used)));
    }
    if (const auto header = parse_overlay_header(bytes)) {
        constexpr std::size_t used = 32;
        REPL_ASSERT(std::ranges::equal(bytes_view(encode_overlay_header(*header)).first(used),
                                       bytes_view(bytes).first(used)));
    }
    return 0;
}
