#pragma once
// Codec payload: what a data frame carries, made by dedupe/encoder and read by dedupe/decoder. This
// header knows where each byte is; docs/formats-codec.md has the same tables with a worked example.
//
//   offset  size  name           meaning, valid range
//   0       1     magic          0xFC
//   1       1     version        4; other: errc::unsupported
//   2       2     flags (le)     how the body is packed, a body_packing: bit 0, one zstd frame;
//                                bit 1, one brotli stream; both: errc::corrupt. Other bits are
//                                required features that this version does not know:
//                                errc::unsupported
//   4       4     structure (le) checksum of everything that says where bytes go, see below
//   8       16    content (le)   XXH3-128 over the 16-byte digests of all data blocks, in order
//   24      1-10  history        varint: state of earlier payloads that this one depends on; 0 =
//                                none, the only value of version 4 (other: errc::unsupported)
//           1-10  operations     varint: 1..operations_max, volume switches not counted
//           1-10  full_blocks    varint, with the next at most limits::frame_blocks_max
//           1-10  delta_blocks   varint: blocks made of others' bytes, kinds delta and rebuilt
//           1-10  command_bytes  varint
//           1-10  literal_bytes  varint, at most delta_blocks * 4096
//           4*n   digests (le)   a short digest for each run of digest_blocks data blocks, in order
//                                (the last run may be shorter; zero runs between them don't count):
//                                low 32 bits of XXH3-64 over the blocks' 16-byte digests
//           rest  body           as it is, or packed: it decodes to exactly its size
//
// Body, decoded: full blocks (4096 bytes each), commands, literal bytes of deltas; each in the
// order of operations. Full blocks come first so that a decoder that hands out whole pages gets
// them aligned.
//
// Commands, all varints; a position (volume, block) begins at (0, 0) and only grows:
//   head = gap << 2 | kind      gap: blocks left out since the end of the previous operation
//     kind 0 zero               then count >= 1: so many blocks become zero
//     kind 1 full               the next full block of the body
//     kind 2 delta              then runs >= 1, then per run: skip, length >= 1; the block is its
//                               base with `length` literal bytes put in `skip` bytes after the
//                               end of the run before
//     kind 3 extended           gap is an opcode: 0 = volume switch, then step >= 1: volume +=
//                               step, block = 0, never twice in a row; 1 = rebuilt, then the gap
//                               and a program (codec_program.hpp); other: errc::unsupported
//
// Checksums guard against accidents (TLS and the outer frame guard the line). `structure` covers
// the bytes before it (as seed), those from offset 24 to the body, and the decoded commands: a
// payload whose positions or digests were damaged is refused whole, zero runs included. The digests
// cover the rebuilt blocks mixed with their positions, so a wrong base, damaged content and a
// misplaced block are all found, run by run.
//
// History: version 1, first. Version 2 adds kind rebuilt, version 3 differences in its programs, up
// to it each block had a short digest; none of the three was released, and they are refused.

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/codec_program.hpp"
#include "replicator/format/endian.hpp"

#include <span>
#include <vector>

namespace farshore::codec_format {

constexpr std::uint8_t payload_magic = 0xFC;
constexpr std::uint8_t payload_version = 4;

/// How a body is stored; the values are those of the flags.
enum class body_packing : std::uint16_t { none = 0, zstd = 1, brotli = 2 };
constexpr std::uint16_t flags_known = 1 | 2;

/// First bytes of a payload, at fixed places.
struct payload_prefix {
    std::uint8_t magic;
    std::uint8_t version;
    le16 flags;
    le32 structure;
    le64 content_low;
    le64 content_high;
};
static_assert(sizeof(payload_prefix) == 24 && alignof(payload_prefix) == 1);
static_assert(offsetof(payload_prefix, flags) == 2 && offsetof(payload_prefix, structure) == 4);
static_assert(offsetof(payload_prefix, content_low) == 8);

constexpr std::uint64_t blocks_per_volume_max = limits::volume_bytes_max / block_bytes;

/// Operations of one payload, so that a decoder's lists stay small whatever a payload says.
constexpr std::size_t operations_max = 4096;
/// What commands may take beside content: two heads, a volume step and a count each.
constexpr std::size_t overhead_bytes_max = operations_max * (6 + 1 + 3 + 6);
/// Decoded body of a payload. Blocks that take little of it may be more than it would hold in full.
constexpr std::size_t body_bytes_max = limits::MiB + overhead_bytes_max;
constexpr std::size_t digest_bytes = 4;
/// Data blocks that share a short digest. One each took 3 % of what a database puts on the line;
/// what is lost is only that a wrong block makes its neighbours be fetched again too.
constexpr std::size_t digest_blocks = 16;
constexpr std::size_t header_bytes_max = sizeof(payload_prefix) + 6 * varint_bytes_max;

static_assert(varint_bytes((blocks_per_volume_max << 2) | 3) <= 6);
static_assert(varint_bytes(limits::volumes_per_group_max) <= 3);
static_assert(limits::frame_blocks_max <= operations_max);
static_assert(header_bytes_max + ceil_div(limits::frame_blocks_max, digest_blocks) * digest_bytes +
                  body_bytes_max <=
              limits::frame_payload_bytes_max);

struct payload_header {
    body_packing packing = body_packing::none;
    std::uint32_t operations = 0;
    std::uint32_t full_blocks = 0;
    std::uint32_t delta_blocks = 0;
    std::uint32_t command_bytes = 0;
    std::uint32_t literal_bytes = 0;
    std::uint32_t structure = 0;
    checksum128 content;

    std::size_t data_blocks() const { return std::size_t{full_blocks} + delta_blocks; }
    std::size_t digests() const { return ceil_div(data_blocks(), digest_blocks); }
    std::size_t full_bytes() const { return full_blocks * block_bytes; }
    std::size_t body_bytes() const { return full_bytes() + command_bytes + literal_bytes; }
    bool operator==(const payload_header &) const = default;
};

/// A payload taken apart; views into the bytes that were parsed.
struct payload_view {
    payload_header header;
    std::uint32_t seed = 0; ///< the first four bytes
    bytes_view sealed;      ///< offset 24 up to the body
    bytes_view digests;     ///< digest_bytes for each run of digest_blocks
    bytes_view body;        ///< as stored

    std::uint32_t digest(std::size_t index) const;
};

/// Checks every field that can be checked before the body is decoded. Errors: errc::corrupt,
/// errc::unsupported, errc::limit.
result<payload_view> parse_payload(bytes_view payload);

/// The value of `structure` for these pieces.
std::uint32_t structure_checksum(std::uint32_t seed, bytes_view sealed, bytes_view commands);

/// Appends everything up to the body; fills in `structure` (that of `header` is not used).
void append_header(byte_vector &out, const payload_header &header,
                   std::span<const le32> short_digests, bytes_view commands);

enum class operation_kind : std::uint8_t { zero = 0, full = 1, delta = 2, rebuilt = 3 };

/// Bytes [offset, offset + length) of a block, inside it.
struct delta_run {
    std::uint16_t offset = 0;
    std::uint16_t length = 0;
    bool operator==(const delta_run &) const = default;
};

struct operation {
    operation_kind kind = operation_kind::zero;
    volume_index volume;
    block_index block;
    std::uint64_t count = 1; ///< blocks; 1 unless zero
    std::uint32_t first = 0; ///< of a delta: in command_list::runs; of a rebuilt one: in steps
    std::uint32_t parts = 0; ///< runs or steps
};

struct command_list {
    std::vector<operation> operations;
    std::vector<delta_run> runs;
    std::vector<program_step> steps;
};

/// Reads the commands into `out` (its memory is reused). `volume_blocks`: how many blocks each
/// volume has; the last `source_only` of them may be referred to and not changed. On success the
/// operations are in strictly growing order inside the volumes, runs are
/// inside their block, and all counts are those of the header. Errors: errc::corrupt,
/// errc::unsupported.
result<> parse_commands(bytes_view commands, const payload_header &header,
                        std::span<const std::uint64_t> volume_blocks, std::size_t source_only,
                        command_list &out);

/// Writes commands; positions must grow (asserted).
class command_writer {
  public:
    explicit command_writer(byte_vector &out) : out_(out) {}
    void zero(volume_index volume, block_index block, std::uint64_t count);
    void full(volume_index volume, block_index block);
    /// Runs are in order, apart from each other and inside the block (asserted).
    void delta(volume_index volume, block_index block, std::span<const delta_run> runs);
    /// `program`: made by program_writer for this block.
    void rebuilt(volume_index volume, block_index block, bytes_view program);
    /// For the next payload; the vector is the caller's to clear.
    void restart();

  private:
    void head(volume_index volume, block_index block, operation_kind kind, std::uint64_t count);
    std::uint64_t gap_to(volume_index volume, block_index block, std::uint64_t count);

    byte_writer out_;
    volume_index volume_{0};
    std::uint64_t next_block_ = 0;
};

} // namespace farshore::codec_format
