#pragma once
// zstd with contexts that are kept, as one-shot calls of bounded size. Not thread-safe; an object a
// thread.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <memory>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace farshore::dedupe {

constexpr int zstd_level_min = 1;
constexpr int zstd_level_max = 12;

class compressor {
  public:
    explicit compressor(int level);
    /// Levels outside zstd_level_min..max are clamped.
    void set_level(int level);
    /// Compresses `input` into `out` as one frame and returns its length, which is less than the
    /// input's; 0 when the input doesn't shrink (out is then unspecified). `out` needs at least
    /// input.size() bytes. Incompressible input is recognised at the cost of level 1 or less.
    std::size_t compress(bytes_view input, bytes_span out);

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
    /// Decodes exactly one frame that takes all of `input` and fills `out` exactly; anything else
    /// is errc::corrupt. Writes nothing outside `out`, allocates nothing that depends on the input.
    result<> decompress(bytes_view input, bytes_span out);

  private:
    struct free_context {
        void operator()(ZSTD_DCtx_s *context) const;
    };
    std::unique_ptr<ZSTD_DCtx_s, free_context> context_;
};

} // namespace farshore::dedupe
