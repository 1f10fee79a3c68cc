#include "replicator/format/codec_payload.hpp"

#include "replicator/base/assert.hpp"

namespace farshore::codec_format {

namespace {

constexpr std::uint64_t kind_mask = 3;
constexpr std::uint64_t kind_extended = 3;
constexpr std::uint64_t opcode_volume = 0;
constexpr std::uint64_t opcode_rebuilt = 1;

std::unexpected<error> damaged(const char *what) {
    return fail(errc::corrupt, std::string("codec payload: ") + what);
}

result<> check_prefix(const payload_prefix &prefix) {
    if (prefix.magic != payload_magic) {
        return damaged("no magic");
    }
    if (prefix.version != payload_version) {
        return fail(errc::unsupported, "codec payload: version " + std::to_string(prefix.version));
    }
    if ((prefix.flags & ~flags_known) != 0) {
        return fail(errc::unsupported, "codec payload: required features, flags " +
                                           std::to_string(prefix.flags.get()));
    }
    if (prefix.flags == flags_known) {
        return damaged("packed in two ways");
    }
    return {};
}

result<> check_counts(const payload_header &header) {
    if (header.operations == 0 || header.operations > operations_max ||
        header.data_blocks() > limits::frame_blocks_max ||
        header.data_blocks() > header.operations || header.operations > header.command_bytes ||
        header.literal_bytes > header.delta_blocks * block_bytes ||
        header.body_bytes() > body_bytes_max) {
        return fail(errc::limit, "codec payload: counts beyond their limits");
    }
    return {};
}

/// One count of the header. None may exceed body_bytes_max, so sums of them can't overflow.
result<std::uint32_t> read_count(byte_reader &reader) {
    FS_TRY(value, reader.varint());
    if (value > body_bytes_max) {
        return fail(errc::limit, "codec payload: counts beyond their limits");
    }
    return static_cast<std::uint32_t>(value);
}

result<payload_header> read_header(const payload_prefix &prefix, byte_reader &reader) {
    payload_header header;
    header.packing = static_cast<body_packing>(prefix.flags.get());
    header.structure = prefix.structure;
    header.content = {prefix.content_low, prefix.content_high};
    FS_TRY(history, reader.varint());
    if (history != 0) {
        return fail(errc::unsupported, "codec payload: depends on history");
    }
    for (std::uint32_t *count : {&header.operations, &header.full_blocks, &header.delta_blocks,
                                 &header.command_bytes, &header.literal_bytes}) {
        FS_TRY(value, read_count(reader));
        *count = value;
    }
    FS_CHECK(check_counts(header));
    return header;
}

std::uint32_t seed_of(bytes_view payload) {
    le32 seed;
    std::memcpy(static_cast<void *>(&seed), payload.data(), sizeof(seed));
    return seed;
}

} // namespace

std::uint32_t payload_view::digest(std::size_t index) const {
    REPL_ASSERT(index < header.digests());
    le32 value;
    std::memcpy(static_cast<void *>(&value), digests.data() + index * digest_bytes, sizeof(value));
    return value;
}

result<payload_view> parse_payload(bytes_view payload) {
    byte_reader reader(payload);
    if (payload.size() > limits::frame_payload_bytes_max) {
        return fail(errc::limit, "codec payload: too long");
    }
    FS_TRY(prefix, reader.structure<payload_prefix>());
    FS_CHECK(check_prefix(prefix));
    const bytes_view sealed = reader.rest();
    payload_view view;
    FS_TRY(header, read_header(prefix, reader));
    view.header = header;
    FS_TRY(digests, reader.bytes(header.digests() * digest_bytes));
    view.digests = digests;
    view.seed = seed_of(payload);
    view.body = reader.rest();
    view.sealed = sealed.first(sealed.size() - view.body.size());
    if (header.packing == body_packing::none ? view.body.size() != header.body_bytes()
                                             : view.body.size() >= header.body_bytes()) {
        return damaged("length of the body");
    }
    return view;
}

std::uint32_t structure_checksum(std::uint32_t seed, bytes_view sealed, bytes_view commands) {
    return static_cast<std::uint32_t>(checksum64(commands, checksum64(sealed, seed)));
}

void append_header(byte_vector &out, const payload_header &header,
                   std::span<const le32> short_digests, bytes_view commands) {
    REPL_ASSERT(short_digests.size() == header.digests());
    REPL_ASSERT(commands.size() == header.command_bytes);
    REPL_ASSERT(check_counts(header).has_value());
    const std::size_t start = out.size();
    payload_prefix prefix{
        payload_magic,      payload_version,    static_cast<std::uint16_t>(header.packing), 0,
        header.content.low, header.content.high};
    append_struct(out, prefix);
    byte_writer writer(out);
    writer.varint(0); // history
    writer.varint(header.operations);
    writer.varint(header.full_blocks);
    writer.varint(header.delta_blocks);
    writer.varint(header.command_bytes);
    writer.varint(header.literal_bytes);
    writer.bytes(std::as_bytes(short_digests));

    const bytes_view written = bytes_view(out).subspan(start);
    prefix.structure =
        structure_checksum(seed_of(written), written.subspan(sizeof(prefix)), commands);
    write_struct(bytes_span(out).subspan(start), prefix);
}

// Parsing: one pass, no allocation beyond what the command bytes themselves pay for (an operation
// takes at least one byte, a run two).
namespace {

class command_parser {
  public:
    command_parser(bytes_view commands, const payload_header &header,
                   std::span<const std::uint64_t> volume_blocks, std::size_t source_only,
                   command_list &out)
        : reader_(commands), header_(header), volume_blocks_(volume_blocks),
          volumes_written_(volume_blocks.size() - source_only), out_(out) {
        REPL_ASSERT(source_only <= volume_blocks.size());
    }

    result<> parse() {
        out_.operations.clear();
        out_.runs.clear();
        out_.steps.clear();
        out_.operations.reserve(header_.operations);
        for (std::uint32_t i = 0; i < header_.operations; ++i) {
            FS_CHECK(parse_operation());
        }
        if (!reader_.at_end() || fulls_ != header_.full_blocks || deltas_ != header_.delta_blocks ||
            literals_ != header_.literal_bytes) {
            return damaged("commands and header disagree");
        }
        return {};
    }

  private:
    result<> parse_operation() {
        FS_TRY(head, parse_head());
        if (head.kind == operation_kind::rebuilt && head.gap == opcode_volume) {
            FS_CHECK(parse_volume_step());
            FS_TRY(after, parse_head());
            head = after;
        }
        if (head.kind == operation_kind::rebuilt) {
            if (head.gap != opcode_rebuilt) {
                return head.gap == opcode_volume
                           ? damaged("volume switch without an operation")
                           : fail(errc::unsupported,
                                  "codec payload: operation " + std::to_string(head.gap));
            }
            if (!reader_.try_varint(head.gap)) {
                return damaged("commands cut short");
            }
        }
        if (volume_ >= volumes_written_) {
            return damaged("no such volume");
        }
        // Compared without sums: none of these can overflow.
        const std::uint64_t end = volume_blocks_[volume_];
        if (next_block_ >= end || head.gap >= end - next_block_) {
            return damaged("block beyond the volume");
        }
        operation op{.kind = head.kind,
                     .volume = volume_index{static_cast<std::uint16_t>(volume_)},
                     .block = block_index{next_block_ + head.gap}};
        FS_CHECK(parse_arguments(op, end));
        next_block_ = op.block.value + op.count;
        out_.operations.push_back(op);
        return {};
    }

    struct operation_head {
        operation_kind kind{}; ///< rebuilt: extended, and `gap` is the opcode
        std::uint64_t gap = 0;
    };
    result<operation_head> parse_head() {
        std::uint64_t head = 0;
        if (!reader_.try_varint(head)) {
            return damaged("commands cut short");
        }
        static_assert(static_cast<std::uint64_t>(operation_kind::rebuilt) == kind_extended);
        return operation_head{static_cast<operation_kind>(head & kind_mask), head >> 2};
    }

    result<> parse_volume_step() {
        std::uint64_t step = 0;
        if (!reader_.try_varint(step) || step == 0 || step > limits::volumes_per_group_max) {
            return damaged("volume step");
        }
        volume_ += step;
        next_block_ = 0;
        return {};
    }

    result<> parse_arguments(operation &op, std::uint64_t volume_end) {
        switch (op.kind) {
        case operation_kind::zero:
            if (!reader_.try_varint(op.count) || op.count == 0 ||
                op.count > volume_end - op.block.value) {
                return damaged("zero run beyond the volume");
            }
            return {};
        case operation_kind::full:
            ++fulls_;
            return {};
        case operation_kind::delta:
            ++deltas_;
            return parse_runs(op);
        case operation_kind::rebuilt:
            ++deltas_;
            return parse_steps(op);
        }
        return damaged("operation kind");
    }

    result<> parse_steps(operation &op) {
        const std::size_t first = out_.steps.size();
        FS_CHECK(read_program(reader_, op.block, volume_blocks_, recent_, out_.steps));
        op.first = static_cast<std::uint32_t>(first);
        op.parts = static_cast<std::uint32_t>(out_.steps.size() - first);
        for (std::size_t i = first; i < out_.steps.size(); ++i) {
            literals_ += out_.steps[i].literals;
        }
        return {};
    }

    result<> parse_runs(operation &op) {
        std::uint64_t count = 0;
        if (!reader_.try_varint(count) || count == 0 || count > block_bytes) {
            return damaged("number of runs");
        }
        op.first = static_cast<std::uint32_t>(out_.runs.size());
        op.parts = static_cast<std::uint32_t>(count);
        std::uint64_t at = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            std::uint64_t skip = 0;
            std::uint64_t length = 0;
            if (!reader_.try_varint(skip) || !reader_.try_varint(length) || length == 0 ||
                skip > block_bytes - at || length > block_bytes - at - skip) {
                return damaged("run outside its block");
            }
            at += skip;
            out_.runs.push_back(
                {static_cast<std::uint16_t>(at), static_cast<std::uint16_t>(length)});
            at += length;
            literals_ += length;
        }
        return {};
    }

    byte_reader reader_;
    const payload_header &header_;
    std::span<const std::uint64_t> volume_blocks_;
    std::size_t volumes_written_;
    command_list &out_;
    recent_places recent_;
    std::uint64_t volume_ = 0;
    std::uint64_t next_block_ = 0;
    std::uint64_t fulls_ = 0;
    std::uint64_t deltas_ = 0;
    std::uint64_t literals_ = 0;
};

} // namespace

result<> parse_commands(bytes_view commands, const payload_header &header,
                        std::span<const std::uint64_t> volume_blocks, std::size_t source_only,
                        command_list &out) {
    return command_parser(commands, header, volume_blocks, source_only, out).parse();
}

/// Switches the volume where needed; the position is then behind the operation.
std::uint64_t command_writer::gap_to(volume_index volume, block_index block, std::uint64_t count) {
    REPL_ASSERT(count >= 1 && block.value < blocks_per_volume_max &&
                count <= blocks_per_volume_max - block.value);
    if (volume != volume_) {
        REPL_ASSERT(volume > volume_ && volume.value < limits::volumes_per_group_max);
        out_.varint(opcode_volume << 2 | kind_extended);
        out_.varint(static_cast<std::uint64_t>(volume.value) - volume_.value);
        volume_ = volume;
        next_block_ = 0;
    }
    REPL_ASSERT(block.value >= next_block_);
    const std::uint64_t gap = block.value - next_block_;
    next_block_ = block.value + count;
    return gap;
}

void command_writer::head(volume_index volume, block_index block, operation_kind kind,
                          std::uint64_t count) {
    const std::uint64_t gap = gap_to(volume, block, count);
    out_.varint(gap << 2 | static_cast<std::uint64_t>(kind));
}

void command_writer::zero(volume_index volume, block_index block, std::uint64_t count) {
    head(volume, block, operation_kind::zero, count);
    out_.varint(count);
}

void command_writer::full(volume_index volume, block_index block) {
    head(volume, block, operation_kind::full, 1);
}

void command_writer::delta(volume_index volume, block_index block,
                           std::span<const delta_run> runs) {
    REPL_ASSERT(!runs.empty());
    head(volume, block, operation_kind::delta, 1);
    out_.varint(runs.size());
    std::size_t at = 0;
    for (const delta_run &run : runs) {
        REPL_ASSERT(run.offset >= at && run.length > 0 &&
                    std::size_t{run.offset} + run.length <= block_bytes);
        out_.varint(run.offset - at);
        out_.varint(run.length);
        at = std::size_t{run.offset} + run.length;
    }
}

void command_writer::rebuilt(volume_index volume, block_index block, bytes_view program) {
    const std::uint64_t gap = gap_to(volume, block, 1);
    out_.varint(opcode_rebuilt << 2 | kind_extended);
    out_.varint(gap);
    out_.bytes(program);
}

void command_writer::restart() {
    volume_ = volume_index{0};
    next_block_ = 0;
}

} // namespace farshore::codec_format
