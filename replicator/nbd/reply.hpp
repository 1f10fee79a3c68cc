#pragma once
// Replies as bytes, and a request run to its end on a thread that may block.

#include "replicator/base/bytes.hpp"
#include "replicator/nbd/validate.hpp"
#include "replicator/storage/block_device.hpp"

#include <cstddef>

namespace farshore::nbd {

/// Descriptors in one answer to BLOCK_STATUS: an answer may be shorter than what was asked, so a
/// fragmented export costs the client more requests and the server no more than 64 KiB of memory.
constexpr std::size_t status_extents_max = 8192;

/// Bytes before the data of a READ.
constexpr std::size_t read_prefix_bytes(bool structured) {
    return structured ? sizeof(data_chunk_prefix) : sizeof(simple_reply);
}
/// Completes the reply to a READ: `out` is room for the prefix, and the data. Returns its length.
/// Long runs of zeroes are told as holes if the client knows chunks and does not forbid more than
/// one. The bytes decide, not the file system: there are some whose word on holes can't be trusted,
/// and zeroes that were written need the line as little. Where there are none this costs a byte a
/// block.
std::size_t write_read_reply(bytes_span out, const request &r, bool structured);
/// A run of zeroes of at least so much becomes a hole of its own; a READ that is all zeroes from
/// hole_whole_min on.
constexpr std::size_t hole_run_min = std::size_t{16} * 1024;
constexpr std::size_t hole_whole_min = 512;

/// The reply to a request without data in its answer.
simple_reply success_reply(const request &r);

constexpr std::size_t error_reply_bytes_max = sizeof(error_chunk);
/// Writes an error reply to the front of `out` (error_reply_bytes_max); returns its length.
std::size_t write_error_reply(bytes_span out, const request &r, bool structured, wire_error e);

/// Of a TRIM or WRITE_ZEROES.
zero_options zero_options_of(const request &r);

/// A whole reply.
struct reply_bytes {
    byte_vector head; ///< all of it but for READ
    buffer body;      ///< a READ's prefix and data
};

/// Does a validated request on the device, waiting for the disk as needed. `payload` is a WRITE's.
reply_bytes run_request(block_device &device, const request &r, bytes_view payload,
                        const export_facts &facts);

} // namespace farshore::nbd
