// Fuzz target: undo records, commit slots and the list of volumes, each also with its checksum put
// right. Checks: what parses is within the limits and encodes to the same bytes.

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"
#include "replicator/format/group_state.hpp"
#include "replicator/format/undo_record.hpp"

#include <algorithm>

using namespace farshore;

namespace {

void check_undo(bytes_view bytes) {
    const auto header = parse_undo_header(bytes);
    if (!header) {
        return;
    }
    REPL_ASSERT(header->entries <= undo_entries_max);
    REPL_ASSERT(header->content_bytes <= header->entries * block_bytes);
    REPL_ASSERT(std::ranges::equal(encode_undo_header(*header), bytes.first(undo_header_bytes)));
    const bytes_view table = bytes.subspan(undo_header_bytes);
    const auto entries = parse_undo_entries(*header, table);
    if (entries) {
        REPL_ASSERT(std::ranges::equal(encode_undo_entries(*entries), table));
        for (const undo_entry &e : *entries) {
            REPL_ASSERT(e.count > 0 &&
                        (e.block.value + e.count) * block_bytes <= limits::volume_bytes_max);
        }
    }
}

void check_state(bytes_view bytes) {
    if (const auto record = parse_commit_slot(bytes)) {
        REPL_ASSERT(record->healed_count <= record->damage_count);
        const byte_vector again = encode_commit_slot(*record);
        REPL_ASSERT(*parse_commit_slot(again) == *record);
        const std::size_t both = std::min(again.size(), bytes.size()); // beyond: zeroes
        REPL_ASSERT(
            std::ranges::equal(bytes_view(again).first(both), bytes_view(bytes).first(both)));
    }
    if (const auto group = parse_group_volumes(bytes)) {
        REPL_ASSERT(group->volumes.size() <= limits::volumes_per_group_max);
        REPL_ASSERT(std::ranges::equal(encode_group_volumes(*group), bytes));
    }
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
    check_undo(bytes);
    check_state(bytes);
    const bytes_span all(bytes);
    if (data[0] % 3 == 1 && bytes.size() >= undo_header_bytes) {
        write_struct(all.subspan(80), le64(checksum64(all.subspan(undo_header_bytes))));
        write_struct(all.subspan(120), le64(checksum64(all.first(120))));
        check_undo(bytes);
    } else if (data[0] % 3 == 2 && bytes.size() >= commit_record_bytes) {
        bytes.resize(4096);
        write_struct(bytes_span(bytes).subspan(168),
                     le64(checksum64(bytes_view(bytes).first(168))));
        check_state(bytes);
    } else if (bytes.size() >= 8) {
        const bytes_view body = all.first(all.size() - 8);
        write_struct(all.subspan(body.size()), le64(checksum64(body)));
        check_state(bytes);
    }
    return 0;
}
