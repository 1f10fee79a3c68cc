// Arbitrary bytes to the accepting side of a TLS session before authentication: nothing but an
// error or a wish for more may come of them, and the answer stays small. The first byte chooses how
// the rest is cut into reads.

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "transport/tls_session.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace {

using namespace farshore;
using namespace farshore::transport;

SSL_CTX *context() {
    static const ssl_ctx_ptr made = [] {
        tls_options options;
        auto self = make_identity("fuzz");
        REPL_ASSERT(self);
        options.self = *self;
        auto c = make_tls_context(options, tls_role::accepting);
        REPL_ASSERT(c);
        return std::move(*c);
    }();
    return made.get();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    if (size == 0 || size > limits::handshake_bytes_max) {
        return 0;
    }
    const trust_check trust_all = [](const peer_claim &) { return result<>(); };
    tls_session session({context(), tls_role::accepting, {}, trust_all, false, "fuzz", 1});
    const std::size_t step = 1 + data[0];
    bytes_view rest = std::as_bytes(std::span(data + 1, size - 1));
    while (!rest.empty()) {
        const bytes_view part = rest.first(std::min(step, rest.size()));
        rest = rest.subspan(part.size());
        session.feed(part);
        const auto done = session.handshake();
        if (!done) {
            break;
        }
        REPL_ASSERT(!*done); // nobody gets through without a key
        REPL_ASSERT(session.unread() == 0);
    }
    REPL_ASSERT(session.take_output({}).size < 16 * 1024);
    return 0;
}
