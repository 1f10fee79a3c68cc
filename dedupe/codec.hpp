#pragma once
// The codec: block changes of one interval in, payloads of data frames out, and back. Pure: bytes
// in, bytes out; no threads, clock, files or network. The byte tables are in
// docs/formats-codec.md.
//
// Reference space: what the receiver provably has, as of two moments: each block's content at the
// previous barrier (`before` of the change at the sender, base_reader at the receiver), and with
// what this interval has changed so far, in the order of payloads and operations. A block is
// rebuilt from runs against its own old content, or from literal bytes and copies of any place of
// the group, byte by byte. A hash only proposes a place; bytes are compared before it is used.
//
// Order: cheap deltas first, so that full copies of the same pages (double writes, file copies) can
// refer to them; then what has no similar old version; then what looks random, which is sent as it
// is.
//
// Every decoded block is checked against its digest before it is handed out: a wrong base, a
// damaged payload or a bug gives a list of bad blocks, never a wrong byte.
//
// State: payloads depend on nothing but the reference space; a restart of either side needs nothing
// rebuilt. The sender's index of places (reference_index) is only a hint and may be lost any time.

#include "replicator/base/error.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/change.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace farshore::dedupe {

struct encoder_options {
    static constexpr int stored = 0; ///< a level: no entropy coding, for measuring the rest
    static constexpr int dense = 13; ///< a level: brotli; much slower than zstd
    /// A level: zstd-1; differences to a block's own old content and whole blocks are looked for,
    /// parts of blocks are not.
    static constexpr int quick = -1;
    int level = 3; ///< 1..12 of zstd, or one of those above; callers choose by bottleneck
    /// A payload is closed when its blocks, commands and literals before entropy coding have passed
    /// so much. Less: a payload takes less time on a slow line; more: it compresses a little
    /// better.
    std::size_t payload_body_bytes = 2 * limits::MiB; ///< as much as fits
    /// Memory of the index of places. 0: none, and only deltas to a block's own old content are
    /// made.
    std::size_t index_bytes = 0;
    /// Memory for contents of blocks that places are compared with, so that the source is asked
    /// less. 0: none.
    std::size_t content_bytes = 0;
    /// How many blocks each volume of the group has. Places in volumes beyond the list aren't used.
    std::vector<std::uint64_t> volume_blocks = {};
    bool verify = false; ///< decode and compare every payload before it is returned: self_check()
    // Off only to measure what they give (bench/micro/stages).
    bool cheap_first = true;  ///< deltas before what may refer to them; else in order of place
    bool whole_blocks = true; ///< blocks are found by a digest of all their content too
};

/// What went in and out, for `status` and benches.
struct encode_stats {
    std::uint64_t blocks_in = 0;
    std::uint64_t zero_blocks = 0;
    std::uint64_t same_blocks = 0; ///< dropped: equal to `before`
    std::uint64_t delta_blocks = 0;
    std::uint64_t rebuilt_blocks = 0; ///< with copies of other places
    std::uint64_t loaned_blocks = 0;  ///< of those: copies of loans
    std::uint64_t full_blocks = 0;
    std::uint64_t random_blocks = 0; ///< of the full ones: not even tried to compress
    std::uint64_t copied_bytes = 0;  ///< by copies of other places
    std::uint64_t literal_bytes = 0;
    std::uint64_t payload_bytes = 0;
};

struct encoded_payload {
    buffer bytes;                ///< at most limits::frame_payload_bytes_max
    std::uint32_t blocks = 0;    ///< changes in it (zero runs count once)
    std::uint32_t raw_bytes = 0; ///< bytes of block content it stands for (data blocks * 4096)
};

/// Reads the 4096-byte content that a block has at the receiver at the previous barrier
/// (zero-padded past the volume's end), cheaply. False: not known or not cheap; then it is not
/// referred to. Asked only for blocks that the interval does not change; the answer holds until the
/// block changes in an interval that is encoded.
using source_reader = std::function<bool(volume_index, block_index, bytes_span out)>;

/// A block of the interval whose content stands in a slot of the receiver's loans (apply/
/// loan_store.hpp): copied there from another group and compared by a keyed digest.
struct loan {
    volume_index volume;
    block_index block;
    std::uint64_t slot = 0;
};

/// A hint for the encoder's index.
struct known_place {
    std::uint64_t key = 0;
    volume_index volume;
    std::uint64_t address = 0;
};
/// Hints for a block (4096 bytes) that the DR site has and that no encoder has seen: few, so that
/// whole volumes can be gone through. Pure; any thread.
void note_known(volume_index volume, block_index block, bytes_view content,
                std::vector<known_place> &out);

class encoder {
  public:
    explicit encoder(encoder_options options);
    ~encoder();
    encoder(encoder &&) noexcept;

    /// Encodes all changes of one interval, in order. Views are not kept. The result may be empty
    /// (all changes were no-ops). Each payload decodes to at most limits::frame_raw_bytes_max of
    /// content. Without `source`, only blocks of the interval itself are referred to. With
    /// `content_bytes` every interval of the stream has to be encoded, in order; what the encoder
    /// has seen of a block it does not ask `source` for. `loans`: in
    /// order of place; referred to as volume `volume_blocks.size()`.
    std::vector<encoded_payload> encode(std::span<const block_change> changes,
                                        const source_reader &source = {},
                                        std::span<const loan> loans = {});
    /// What the last encode() found wrong with its own work (`verify`): a bug of the codec or bad
    /// memory. errc::mismatch; encode() returned nothing then, and nothing of the interval may
    /// leave.
    const result<> &self_check() const;
    /// Takes hints into the index. They need not be true.
    void learn(std::span<const known_place> places);
    /// The next interval is another stream's, or some were left out.
    void forget_contents();
    void set_level(int level);
    const encode_stats &stats() const;

  private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

/// Reads the 4096-byte content that a block has at the receiver (zero-padded past the volume's
/// end), at a given moment.
using base_reader = std::function<result<>(volume_index, block_index, bytes_span out)>;

/// A block whose rebuilt content did not match its digest.
struct bad_block {
    volume_index volume;
    block_index block;
};

struct decoded_payload {
    std::vector<block_change>
        changes;                 ///< in the payload's order; content views point into `content`
    std::vector<buffer> content; ///< owns the blocks' bytes
    std::vector<bad_block> bad;  ///< left out of `changes`
};

class decoder {
  public:
    decoder();
    ~decoder();
    decoder(decoder &&) noexcept;

    /// Decodes one payload. `volume_blocks` gives, per volume, how many blocks it has: positions
    /// beyond fail. `base` reads as of the previous barrier, `now` with the interval's payloads
    /// before this one. The last `source_only` volumes may be referred to and not changed (loans).
    /// Memory and time are bounded whatever the payload says. Errors:
    /// errc::corrupt (not a valid payload), errc::unsupported (version or operation), errc::limit,
    /// or what `base` or `now` returned. Blocks whose digest differs are in `bad`.
    result<decoded_payload> decode(bytes_view payload, std::span<const std::uint64_t> volume_blocks,
                                   const base_reader &base, const base_reader &now,
                                   std::size_t source_only = 0);

  private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace farshore::dedupe
