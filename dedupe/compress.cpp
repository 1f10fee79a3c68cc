#include "dedupe/compress.hpp"

#include "dedupe/brotli_body.hpp"
#include "replicator/base/assert.hpp"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>

namespace farshore::dedupe {

namespace {

/// Up to this level zstd notices random data itself in less time than a probe would take (0.15 ms a
/// MiB at level 1, 0.2 ms at level 3); above it searches long before it gives up.
constexpr int cheap_level_max = 3;
/// A probe that saves less than one part in this many counts as "does not shrink".
constexpr std::size_t worthwhile_part = 128;

} // namespace

void compressor::free_context::operator()(ZSTD_CCtx_s *context) const { ZSTD_freeCCtx(context); }
void decompressor::free_context::operator()(ZSTD_DCtx_s *context) const { ZSTD_freeDCtx(context); }

compressor::compressor(int level) : context_(ZSTD_createCCtx()), level_(0) {
    REPL_ASSERT(context_ != nullptr);
    set_level(level);
}

void compressor::set_level(int level) { level_ = std::clamp(level, zstd_level_min, level_dense); }

packed_body compressor::compress(bytes_view input, bytes_span out) {
    REPL_ASSERT(out.size() >= input.size());
    if (level_ > cheap_level_max) {
        // The whole input and not a sample: a sample would miss what repeats across blocks.
        const std::size_t probe = compress_at(zstd_level_min, input, out);
        if (probe == 0) {
            return {};
        }
        if (input.size() - probe < input.size() / worthwhile_part) {
            return {body_packing::zstd, probe};
        }
    }
    if (level_ == level_dense) {
        const std::size_t dense = brotli_compress(input, out);
        return dense == 0 ? packed_body{} : packed_body{body_packing::brotli, dense};
    }
    const std::size_t frame = compress_at(level_, input, out);
    return frame == 0 ? packed_body{} : packed_body{body_packing::zstd, frame};
}

std::size_t compressor::compress_at(int level, bytes_view input, bytes_span out) {
    if (input.empty()) {
        return 0;
    }
    const auto set = ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
    REPL_ASSERT(ZSTD_isError(set) == 0);
    // No room for a result that isn't shorter: zstd stops as soon as it sees that.
    const std::size_t written =
        ZSTD_compress2(context_.get(), out.data(), input.size() - 1, input.data(), input.size());
    if (ZSTD_isError(written) != 0) {
        REPL_ASSERT(ZSTD_getErrorCode(written) == ZSTD_error_dstSize_tooSmall);
        return 0;
    }
    return written;
}

decompressor::decompressor() : context_(ZSTD_createDCtx()) { REPL_ASSERT(context_ != nullptr); }

result<> decompressor::decompress(body_packing packing, bytes_view input, bytes_span out) {
    switch (packing) {
    case body_packing::zstd:
        return decompress_zstd(input, out);
    case body_packing::brotli:
        return brotli_decompress(input, out);
    case body_packing::none:
        break;
    }
    return fail(errc::corrupt, "codec payload: the body is not packed");
}

result<> decompressor::decompress_zstd(bytes_view input, bytes_span out) {
    // Decoding in one call uses `out` as its window, so a frame's window size costs no memory. The
    // length is asked for first because the call would also take several frames in a row.
    const std::size_t length = ZSTD_findFrameCompressedSize(input.data(), input.size());
    if (ZSTD_isError(length) != 0 || length != input.size()) {
        return fail(errc::corrupt, "codec payload: compressed body is not one frame");
    }
    const std::size_t written =
        ZSTD_decompressDCtx(context_.get(), out.data(), out.size(), input.data(), input.size());
    if (ZSTD_isError(written) != 0 || written != out.size()) {
        return fail(errc::corrupt, "codec payload: compressed body does not decode");
    }
    return {};
}

} // namespace farshore::dedupe
