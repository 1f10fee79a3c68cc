#pragma once
// The envelope around every message of a link.
//
//   offset  size  name      meaning
//   0       4     length    le32, payload bytes that follow; at most limits::message_bytes_max,
//                           limits::join_bytes_max where a token is redeemed
//   4       2     type      le16, 1..0xfffe: format/messages.hpp; 0xffff: transport_ready
//   6       2     reserved  zero, refused otherwise
//
// No checksum and no version: the record layer of TLS guards every byte, and the version is part of
// the ALPN name. transport_ready has no payload; the accepting side sends it once, first of all,
// when it has verified the connecting side. In TLS 1.3 the connecting side finishes first and could
// not know otherwise whether it was accepted.

#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"
#include "transport/link.hpp"

#include <cstddef>
#include <string_view>

namespace farshore::transport {

struct envelope {
    le32 length;
    le16 type;
    le16 reserved;
};
static_assert(sizeof(envelope) == 8 && alignof(envelope) == 1);
static_assert(offsetof(envelope, length) == 0 && offsetof(envelope, type) == 4 &&
              offsetof(envelope, reserved) == 6);
static_assert(std::is_trivially_copyable_v<envelope>);

constexpr std::size_t envelope_bytes = sizeof(envelope);
constexpr std::uint16_t transport_ready = 0xffff;

/// Of one message of a link that agreed on `application`: while tokens are redeemed the peer is not
/// authenticated yet.
constexpr std::size_t payload_bytes_max(std::string_view application) {
    return application == alpn_join ? limits::join_bytes_max : limits::message_bytes_max;
}

/// The first 8 bytes of `bytes`. errc::limit: the length is beyond `payload_max`; errc::corrupt:
/// reserved bits are set or the type is 0. The type transport_ready is for the caller to refuse.
inline result<envelope> parse_envelope(bytes_view bytes,
                                       std::size_t payload_max = limits::message_bytes_max) {
    FS_TRY(e, read_struct<envelope>(bytes));
    if (e.length > payload_max) {
        return fail(errc::limit, "a message of " + std::to_string(e.length.get()) + " bytes");
    }
    if (e.reserved != 0 || e.type == 0) {
        return fail(errc::corrupt, "the envelope of a message");
    }
    return e;
}

} // namespace farshore::transport
