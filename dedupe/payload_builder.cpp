#include "dedupe/payload_builder.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>

namespace farshore::dedupe {

namespace {
constexpr std::size_t operation_bytes_max = 32; ///< what an operation takes beside its block
} // namespace

payload_builder::payload_builder(int level, std::size_t body_bytes)
    : body_bytes_max_(
          std::clamp<std::size_t>(body_bytes, block_bytes, codec_format::body_bytes_max)),
      packer_(level), body_(codec_format::body_bytes_max), packed_(codec_format::body_bytes_max) {
    set_level(level);
}

void payload_builder::zero(volume_index volume, block_index block, std::uint64_t count) {
    if (header_.operations == codec_format::operations_max) {
        close();
    }
    writer_.zero(volume, block, count);
    ++header_.operations;
}

void payload_builder::full(const ready_block &block) {
    make_room();
    writer_.full(block.change.volume, block.change.block);
    std::memcpy(body_.data() + header_.full_bytes(), block.change.content.data(), block_bytes);
    ++header_.full_blocks;
    add_digest(block.digest);
}

void payload_builder::delta(const ready_block &block, std::span<const codec_format::delta_run> runs,
                            bytes_view literals) {
    make_room();
    writer_.delta(block.change.volume, block.change.block, runs);
    append_bytes(literals_, literals);
    ++header_.delta_blocks;
    add_digest(block.digest);
}

void payload_builder::rebuilt(const ready_block &block, bytes_view program, bytes_view literals) {
    writer_.rebuilt(block.change.volume, block.change.block, program);
    append_bytes(literals_, literals);
    ++header_.delta_blocks;
    add_digest(block.digest);
}

void payload_builder::add_digest(const checksum128 &digest) {
    ++header_.operations;
    full_digests_.push_back(to_wire(digest));
}

void payload_builder::make_room() {
    const std::size_t held = header_.full_bytes() + commands_.size() + literals_.size();
    if (header_.operations == codec_format::operations_max ||
        header_.data_blocks() == limits::frame_blocks_max ||
        (held > 0 && held + block_bytes + operation_bytes_max > body_bytes_max_)) {
        close();
    }
}

/// Puts commands and literals behind the full blocks; returns the length of all three.
std::size_t payload_builder::assemble_body() {
    header_.command_bytes = static_cast<std::uint32_t>(commands_.size());
    header_.literal_bytes = static_cast<std::uint32_t>(literals_.size());
    REPL_ASSERT(header_.body_bytes() <= body_.size());
    std::byte *at = body_.data() + header_.full_bytes();
    for (const byte_vector *part : {&commands_, &literals_}) {
        if (!part->empty()) {
            std::memcpy(at, part->data(), part->size());
            at += part->size();
        }
    }
    return header_.body_bytes();
}

void payload_builder::close() {
    if (header_.operations == 0) {
        return;
    }
    const std::size_t raw = assemble_body();
    const packed_body shrunk = store_only_ || stored_
                                   ? packed_body{}
                                   : packer_.compress(body_.view().first(raw), packed_.span());
    header_.packing = shrunk.packing;
    header_.content = checksum_128(std::as_bytes(std::span(full_digests_)));
    const std::span<const wire_digest> digests = full_digests_;
    for (std::size_t at = 0; at < digests.size(); at += codec_format::digest_blocks) {
        const std::size_t count = std::min(codec_format::digest_blocks, digests.size() - at);
        short_digests_.push_back(short_digest(digests.subspan(at, count)));
    }
    const bytes_view stored =
        shrunk.bytes > 0 ? packed_.view().first(shrunk.bytes) : body_.view().first(raw);

    head_.clear();
    append_header(head_, header_, short_digests_, commands_);
    encoded_payload payload{.bytes = buffer(head_.size() + stored.size()),
                            .blocks = header_.operations,
                            .raw_bytes =
                                static_cast<std::uint32_t>(header_.data_blocks() * block_bytes)};
    REPL_ASSERT(payload.bytes.size() <= limits::frame_payload_bytes_max);
    std::memcpy(payload.bytes.data(), head_.data(), head_.size());
    std::memcpy(payload.bytes.data() + head_.size(), stored.data(), stored.size());
    payloads_.push_back(std::move(payload));

    ++number_;
    header_ = {};
    commands_.clear();
    literals_.clear();
    short_digests_.clear();
    full_digests_.clear();
    writer_.restart();
}

} // namespace farshore::dedupe
