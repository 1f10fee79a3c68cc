#pragma once
// The codec: block changes of one interval in, payloads of data frames out, and back. Pure: bytes in,
// bytes out; no threads, clock, files or network. docs/formats.md "Codec payload" has the byte tables.
//
// Reference space: what the receiver provably has: each block's content at the previous barrier
// (`before` at the sender, `base_reader` at the receiver) and what came earlier in the stream's order.
// Every decoded block is checked against its digest before it is handed out: a wrong base, a damaged
// payload or a bug gives a list of bad blocks, never a wrong byte.
//
// State: an encoder and a decoder of one stream are fed the same payloads in the same order. This
// version keeps no history between payloads (`codec_version` 1); the format has room for it.

#include "replicator/base/error.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/change.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace farshore::dedupe {

struct encoder_options {
    int zstd_level = 1; ///< 1..12; callers choose by bottleneck
    /// Data blocks of one payload, 1..limits::frame_blocks_max. Fewer: a payload takes less time on a slow
    /// line; more: it compresses a little better.
    std::size_t payload_blocks_max = limits::frame_blocks_max;
    bool verify = false; ///< decode and compare every payload before it is returned; a difference aborts
};

/// What went in and out, for `status` and benches.
struct encode_stats {
    std::uint64_t blocks_in = 0;
    std::uint64_t zero_blocks = 0;
    std::uint64_t same_blocks = 0;  ///< dropped: equal to `before`
    std::uint64_t delta_blocks = 0;
    std::uint64_t full_blocks = 0;
    std::uint64_t payload_bytes = 0;
};

struct encoded_payload {
    buffer bytes;              ///< at most limits::frame_payload_bytes_max
    std::uint32_t blocks = 0;  ///< changes in it (zero runs count once)
    std::uint32_t raw_bytes = 0; ///< bytes of block content it stands for (data blocks * 4096)
};

class encoder {
  public:
    explicit encoder(encoder_options options);
    ~encoder();
    encoder(encoder &&) noexcept;

    /// Encodes all changes of one interval, in order. Views are not kept. The result may be empty
    /// (all changes were no-ops). Each payload decodes to at most limits::frame_raw_bytes_max of content.
    std::vector<encoded_payload> encode(std::span<const block_change> changes);
    void set_level(int zstd_level);
    const encode_stats &stats() const;

  private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

/// Reads the 4096-byte content that a block has at the receiver at the previous barrier (zero-padded
/// past the volume's end).
using base_reader = std::function<result<>(volume_index, block_index, bytes_span out)>;

/// A block whose rebuilt content did not match its digest.
struct bad_block {
    volume_index volume;
    block_index block;
};

struct decoded_payload {
    std::vector<block_change> changes; ///< in the payload's order; content views point into `content`
    std::vector<buffer> content;       ///< owns the blocks' bytes
    std::vector<bad_block> bad;        ///< left out of `changes`
};

class decoder {
  public:
    decoder();
    ~decoder();
    decoder(decoder &&) noexcept;

    /// Decodes one payload against the receiver's present content. `volume_blocks` gives, per volume,
    /// how many blocks it has: positions beyond fail. Memory and time are bounded whatever the
    /// payload says. Errors: errc::corrupt (not a valid payload), errc::unsupported (version or
    /// operation), errc::limit, or what `base` returned. Blocks whose digest differs are in `bad`.
    result<decoded_payload> decode(bytes_view payload, std::span<const std::uint64_t> volume_blocks,
                                   const base_reader &base);

  private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace farshore::dedupe
