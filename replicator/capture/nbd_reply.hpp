#pragma once
// Replies as bytes, and a request run to its end on a thread that may block.

#include "replicator/base/bytes.hpp"
#include "replicator/capture/nbd_validate.hpp"
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
/// Writes them to the front of `out`.
void write_read_prefix(bytes_span out, const request &r, bool structured);

/// The reply to a request without data in its answer.
simple_reply success_reply(const request &r);

constexpr std::size_t error_reply_bytes_max = sizeof(error_chunk);
/// Writes an error reply to the front of `out` (error_reply_bytes_max); returns its length.
std::size_t write_error_reply(bytes_span out, const request &r, bool structured, wire_error e);

/// A whole reply.
struct reply_bytes {
    byte_vector head; ///< all of it but for READ
    buffer body;      ///< a READ's prefix and data
};

/// Does a validated request on the device, waiting for the disk as needed. `payload` is a WRITE's.
reply_bytes run_request(block_device &device, const request &r, bytes_view payload,
                        const export_facts &facts);

} // namespace farshore::nbd
