// The encoder: drops what changes nothing, turns the rest into operations, and closes a payload
// when one of its limits is reached.
//
// Streams: full blocks, commands and literal bytes are collected apart and compressed as one unit,
// in that order; digests stay outside, since they don't compress and would disturb what does. Full
// blocks are copied straight to where the compressor reads them. What was measured and rejected
// stands in docs/formats-codec.md.

#include "dedupe/block_digest.hpp"
#include "dedupe/codec.hpp"
#include "dedupe/compress.hpp"
#include "dedupe/delta.hpp"
#include "dedupe/verify.hpp"
#include "replicator/base/assert.hpp"
#include "replicator/format/codec_payload.hpp"

namespace farshore::dedupe {

namespace {

bool in_order(const block_change &first, const block_change &second) {
    return first.volume < second.volume ||
           (first.volume == second.volume && first.block.value + first.count <= second.block.value);
}

} // namespace

struct encoder::impl {
    explicit impl(encoder_options o)
        : options(o), zstd(o.zstd_level), body(codec_format::body_bytes_max),
          packed(codec_format::body_bytes_max) {}

    void add(const block_change &change);
    void add_data(const block_change &change);
    void add_zero_block(const block_change &change);
    void add_zero(volume_index volume, block_index block, std::uint64_t count);
    void write_zero_run();
    void make_room(bool data_block);
    void close_payload();
    std::size_t assemble_body();

    encoder_options options;
    encode_stats stats;
    compressor zstd;

    // The open payload
    buffer body;   ///< full blocks at its front while collecting, then the whole raw body
    buffer packed; ///< compressed body
    codec_format::payload_header header;
    byte_vector commands;
    codec_format::command_writer writer{commands};
    byte_vector literals;
    std::vector<le32> short_digests;
    std::vector<wire_digest> full_digests;

    // A zero run not yet written: the next block may make it longer. count 0: none.
    volume_index zero_volume;
    block_index zero_block;
    std::uint64_t zero_count = 0;

    std::vector<codec_format::delta_run> runs;
    byte_vector head;
    std::vector<encoded_payload> payloads;
};

encoder::encoder(encoder_options options) : impl_(std::make_unique<impl>(options)) {}
encoder::~encoder() = default;
encoder::encoder(encoder &&) noexcept = default;

void encoder::set_level(int zstd_level) {
    impl_->options.zstd_level = zstd_level;
    impl_->zstd.set_level(zstd_level);
}

const encode_stats &encoder::stats() const { return impl_->stats; }

std::vector<encoded_payload> encoder::encode(std::span<const block_change> changes) {
    for (std::size_t i = 0; i < changes.size(); ++i) {
        REPL_ASSERT(i == 0 || in_order(changes[i - 1], changes[i]));
        impl_->add(changes[i]);
    }
    impl_->write_zero_run();
    impl_->close_payload();
    std::vector<encoded_payload> payloads = std::exchange(impl_->payloads, {});
    if (impl_->options.verify) {
        verify_payloads(changes, payloads);
    }
    return payloads;
}

void encoder::impl::add(const block_change &change) {
    REPL_ASSERT(change.before.empty() || change.before.size() == block_bytes);
    switch (change.kind) {
    case change_kind::zero:
        stats.blocks_in += change.count;
        add_zero_block(change);
        return;
    case change_kind::data:
        add_data(change);
        return;
    }
}

void encoder::impl::add_data(const block_change &change) {
    REPL_ASSERT(change.content.size() == block_bytes && change.count == 1);
    ++stats.blocks_in;
    if (is_zero(change.content)) {
        add_zero_block(change);
        return;
    }
    const bool cheap = !change.before.empty() && find_runs(change.before, change.content, runs);
    if (cheap && runs.empty()) {
        ++stats.same_blocks;
        return;
    }
    write_zero_run();
    make_room(true);
    if (cheap) {
        writer.delta(change.volume, change.block, runs);
        append_literals(change.content, runs, literals);
        ++header.delta_blocks;
        ++stats.delta_blocks;
    } else {
        writer.full(change.volume, change.block);
        std::memcpy(body.data() + header.full_bytes(), change.content.data(), block_bytes);
        ++header.full_blocks;
        ++stats.full_blocks;
    }
    ++header.operations;
    const checksum128 digest = block_digest(change.volume, change.block, change.content);
    short_digests.push_back(short_digest(digest));
    full_digests.push_back(to_wire(digest));
}

void encoder::impl::add_zero_block(const block_change &change) {
    if (change.count == 1 && !change.before.empty() && is_zero(change.before)) {
        ++stats.same_blocks;
        return;
    }
    add_zero(change.volume, change.block, change.count);
}

void encoder::impl::add_zero(volume_index volume, block_index block, std::uint64_t count) {
    REPL_ASSERT(count > 0);
    stats.zero_blocks += count;
    if (zero_count > 0 && zero_volume == volume && zero_block.value + zero_count == block.value) {
        zero_count += count;
        return;
    }
    write_zero_run();
    zero_volume = volume;
    zero_block = block;
    zero_count = count;
}

void encoder::impl::write_zero_run() {
    if (zero_count == 0) {
        return;
    }
    make_room(false);
    writer.zero(zero_volume, zero_block, zero_count);
    ++header.operations;
    zero_count = 0;
}

void encoder::impl::make_room(bool data_block) {
    if (header.operations == codec_format::operations_max ||
        (data_block && header.data_blocks() == options.payload_blocks_max)) {
        close_payload();
    }
}

/// Puts commands and literals behind the full blocks; returns the length of all three.
std::size_t encoder::impl::assemble_body() {
    header.command_bytes = static_cast<std::uint32_t>(commands.size());
    header.literal_bytes = static_cast<std::uint32_t>(literals.size());
    REPL_ASSERT(header.body_bytes() <= body.size());
    std::byte *at = body.data() + header.full_bytes();
    for (const byte_vector *part : {&commands, &literals}) {
        if (!part->empty()) {
            std::memcpy(at, part->data(), part->size());
            at += part->size();
        }
    }
    return header.body_bytes();
}

void encoder::impl::close_payload() {
    if (header.operations == 0) {
        return;
    }
    const std::size_t raw = assemble_body();
    const std::size_t shrunk = zstd.compress(body.view().first(raw), packed.span());
    header.compressed = shrunk != 0;
    header.content = checksum_128(std::as_bytes(std::span(full_digests)));
    const bytes_view stored =
        header.compressed ? packed.view().first(shrunk) : body.view().first(raw);

    head.clear();
    append_header(head, header, short_digests, commands);
    encoded_payload payload{.bytes = buffer(head.size() + stored.size()),
                            .blocks = header.operations,
                            .raw_bytes =
                                static_cast<std::uint32_t>(header.data_blocks() * block_bytes)};
    REPL_ASSERT(payload.bytes.size() <= limits::frame_payload_bytes_max);
    std::memcpy(payload.bytes.data(), head.data(), head.size());
    std::memcpy(payload.bytes.data() + head.size(), stored.data(), stored.size());
    stats.payload_bytes += payload.bytes.size();
    payloads.push_back(std::move(payload));

    header = {};
    commands.clear();
    literals.clear();
    short_digests.clear();
    full_digests.clear();
    writer.restart();
}

} // namespace farshore::dedupe
