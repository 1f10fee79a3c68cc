// Fuzz target: codec payloads, in three ways that the first byte chooses.
//   0  the rest as it is: what the checksums let through
//   1  the rest with its structure checksum put right, when header and body can be read: gets
//      behind the checksum, into the commands
//   2  the rest as script for a set of changes: encoded with the self-check on, decoded, compared
// Checks: no crash, all results inside the volumes, in order, content where it is owned, memory
// within the limits.

#include "replicator/format/codec_payload.hpp"

#include "dedupe/codec.hpp"
#include "dedupe/compress.hpp"
#include "replicator/base/assert.hpp"

#include <algorithm>
#include <array>
#include <deque>

using namespace farshore;

namespace {

constexpr std::array<std::uint64_t, 3> volume_blocks = {1000, 1ULL << 38, 1};

result<> read_base(volume_index volume, block_index block, bytes_span out) {
    std::ranges::fill(out, static_cast<std::byte>(volume.value * 31 + block.value));
    return {};
}

bool owned(const dedupe::decoded_payload &decoded, bytes_view content) {
    return std::ranges::any_of(decoded.content, [&](const buffer &b) {
        return content.data() >= b.data() && content.size() <= b.size() &&
               content.data() + content.size() <= b.data() + b.size();
    });
}

void check_decoded(const dedupe::decoded_payload &decoded, std::size_t volumes_written) {
    std::size_t memory = 0;
    for (const buffer &b : decoded.content) {
        memory += b.size();
    }
    REPL_ASSERT(memory <= limits::frame_raw_bytes_max + codec_format::body_bytes_max + block_bytes);
    REPL_ASSERT(decoded.changes.size() + decoded.bad.size() <= codec_format::operations_max);
    const block_change *last = nullptr;
    for (const block_change &c : decoded.changes) {
        REPL_ASSERT(c.volume.value < volumes_written && c.count > 0);
        REPL_ASSERT(c.block.value < volume_blocks[c.volume.value] &&
                    c.count <= volume_blocks[c.volume.value] - c.block.value);
        REPL_ASSERT(last == nullptr || last->volume < c.volume ||
                    (last->volume == c.volume && last->block.value + last->count <= c.block.value));
        REPL_ASSERT(c.kind == change_kind::zero
                        ? c.content.empty()
                        : c.content.size() == block_bytes && owned(decoded, c.content));
        last = &c;
    }
}

void decode(bytes_view payload) {
    static dedupe::decoder decoder;
    for (const std::size_t source_only : {0U, 1U}) {
        const auto decoded =
            decoder.decode(payload, volume_blocks, read_base, read_base, source_only);
        if (decoded) {
            check_decoded(*decoded, volume_blocks.size() - source_only);
        }
    }
}

void decode_resealed(bytes_view payload) {
    static dedupe::decompressor unpacker;
    const auto view = codec_format::parse_payload(payload);
    if (!view) {
        return;
    }
    byte_vector body(view->body.begin(), view->body.end());
    if (view->header.packing != codec_format::body_packing::none) {
        body.resize(view->header.body_bytes());
        if (!unpacker.decompress(view->header.packing, view->body, body)) {
            return;
        }
    }
    const bytes_view commands =
        bytes_view(body).subspan(view->header.full_bytes(), view->header.command_bytes);
    byte_vector sealed(payload.begin(), payload.end());
    const le32 sum(codec_format::structure_checksum(view->seed, view->sealed, commands));
    write_struct(bytes_span(sealed).subspan(offsetof(codec_format::payload_prefix, structure)),
                 sum);
    decode(sealed);
}

void round_trip(bytes_view script) {
    std::deque<byte_vector> pages;
    std::vector<block_change> changes;
    byte_reader reader(script);
    std::uint64_t block = 0;
    std::uint8_t step = 0;
    std::uint8_t fill = 0;
    while (changes.size() < 40 && reader.try_u8(step) && reader.try_u8(fill)) {
        block_change c;
        c.volume = volume_index{1};
        block += step & 15;
        c.block = block_index{block};
        if ((step & 0xC0) == 0) {
            c.kind = change_kind::zero;
            c.count = 1U + fill;
        } else {
            byte_vector &before = pages.emplace_back(block_bytes);
            REPL_ASSERT(read_base(c.volume, c.block, before));
            byte_vector &after = pages.emplace_back(before);
            const std::size_t at = std::size_t{fill} * 16;
            const bytes_view bytes = reader.rest().first(std::min<std::size_t>(
                reader.remaining(), std::min<std::size_t>(fill, block_bytes - at)));
            std::ranges::copy(bytes, after.begin() + static_cast<std::ptrdiff_t>(at));
            c.content = after;
            c.before = (step & 0x20) != 0 ? bytes_view(before) : bytes_view();
        }
        block += c.count;
        changes.push_back(c);
    }
    static dedupe::encoder encoder({.level = 1, .verify = true});
    for (const auto &payload : encoder.encode(changes)) {
        decode(payload.bytes.view());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const bytes_view input = std::as_bytes(std::span(data, size));
    if (input.empty()) {
        return 0;
    }
    const bytes_view rest = input.subspan(1);
    switch (std::to_integer<unsigned>(input[0]) % 3) {
    case 0:
        decode(rest);
        break;
    case 1:
        decode_resealed(rest);
        break;
    default:
        round_trip(rest);
        break;
    }
    return 0;
}
