#pragma once
// First block of the file `loans` of a group at the DR site; loans (4096 bytes each) follow it.
// docs/formats-log.md "Group state".
//
// Little-endian:
//   off size name       meaning, valid range
//     0    4 magic      "FSL1"
//     4    2 version    1; any other is refused (errc::unsupported)
//     6    2 reserved   zero
//     8    8 newest     highest interval that any loan was given to
//    16    8 checksum   XXH3-64 of bytes 0..15
// The rest of the block is zero.
// History: version 1, first.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/format/position.hpp"

namespace farshore {

constexpr std::size_t loan_header_bytes = block_bytes;

struct loan_header {
    interval_id newest;
    bool operator==(const loan_header &) const = default;
};

/// loan_header_bytes long.
byte_vector encode_loan_header(const loan_header &header);
/// errc::corrupt, errc::unsupported.
result<loan_header> parse_loan_header(bytes_view bytes);

} // namespace farshore
