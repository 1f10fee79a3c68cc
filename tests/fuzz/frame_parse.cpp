// Fuzz target: frame headers and barriers. The first byte chooses:
//   even  the rest as a whole frame
//   odd   the rest with its header checksum put right, and the payload as a barrier
// Checks: what parses is within the limits and encodes to the same bytes.

#include "replicator/base/assert.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/format/segment_header.hpp"

#include <algorithm>

using namespace farshore;

namespace {

void check_barrier(bytes_view payload) {
    const auto b = parse_barrier(payload);
    if (!b) {
        return;
    }
    REPL_ASSERT(b->verify.size() <= verify_entries_max);
    REPL_ASSERT(std::ranges::equal(encode_barrier(*b), payload));
}

void check_frame(bytes_view bytes) {
    const auto header = parse_frame_header(bytes);
    if (header) {
        REPL_ASSERT(header->payload_bytes <= limits::frame_payload_bytes_max);
        REPL_ASSERT(header->raw_bytes <= limits::frame_raw_bytes_max);
        REPL_ASSERT(header->stream.value != 0 && header->interval.value != 0);
    }
    const auto frame = parse_frame(bytes);
    if (!frame) {
        return;
    }
    REPL_ASSERT(frame->payload.size() == frame->header.payload_bytes);
    const buffer again = make_frame(frame->header, frame->payload);
    // Optional flags are dropped, everything else comes back.
    const auto reread = parse_frame(again.view());
    REPL_ASSERT(reread && reread->header == frame->header);
    check_barrier(frame->payload);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    byte_vector bytes(size - 1);
    if (!bytes.empty()) {
        std::memcpy(bytes.data(), data + 1, bytes.size());
    }
    check_barrier(bytes);
    static_cast<void>(parse_segment_header(bytes).has_value());
    if (data[0] % 2 == 1 && bytes.size() >= frame_header_bytes) {
        const bytes_view payload = bytes_view(bytes).subspan(frame_header_bytes);
        const bytes_span all(bytes);
        write_struct(all.subspan(8), le32(static_cast<std::uint32_t>(payload.size())));
        write_struct(all.subspan(40), le64(checksum64(payload)));
        write_struct(all.subspan(56), le64(checksum64(all.first(56))));
    }
    check_frame(bytes);
    return 0;
}
