#pragma once
// Entropy coding of a payload's body, as one-shot calls of bounded size: zstd, whose contexts are
// kept, or brotli, which takes five times as long and makes a database's literals 12 to 18 %
// smaller (docs/decisions/0010). Not thread-safe; an object a thread.

#include "dedupe/codec.hpp"
#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/format/codec_payload.hpp"

#include <memory>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace farshore::dedupe {

using codec_format::body_packing;

constexpr int zstd_level_min = 1;
constexpr int zstd_level_max = 12;
/// The level above all of zstd's: brotli.
constexpr int level_dense = encoder_options::dense;
static_assert(level_dense > zstd_level_max);

struct packed_body {
    body_packing packing = body_packing::none;
    std::size_t bytes = 0;
};

class compressor {
  public:
    explicit compressor(int level);
    /// Levels outside zstd_level_min..level_dense are clamped.
    void set_level(int level);
    /// Compresses `input` into `out`; how, and to which length, which is less than the input's.
    /// `none` when the input doesn't shrink (out is then unspecified). `out` needs at least
    /// input.size() bytes. Incompressible input is recognised at the cost of level 1 or less.
    packed_body compress(bytes_view input, bytes_span out);

  private:
    std::size_t compress_at(int level, bytes_view input, bytes_span out);

    struct free_context {
        void operator()(ZSTD_CCtx_s *context) const;
    };
    std::unique_ptr<ZSTD_CCtx_s, free_context> context_;
    int level_;
};

class decompressor {
  public:
    decompressor();
    /// Decodes exactly one frame or stream that takes all of `input` and fills `out` exactly;
    /// anything else is errc::corrupt. Writes nothing outside `out`. Memory: zstd's context;
    /// brotli's at most brotli_memory_max, whatever the input says.
    result<> decompress(body_packing packing, bytes_view input, bytes_span out);

  private:
    result<> decompress_zstd(bytes_view input, bytes_span out);

    struct free_context {
        void operator()(ZSTD_DCtx_s *context) const;
    };
    std::unique_ptr<ZSTD_DCtx_s, free_context> context_;
};

} // namespace farshore::dedupe
