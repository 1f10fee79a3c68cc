#pragma once
// One brotli stream (RFC 7932) for a body, at the quality that models what stands before each
// literal. Stateless; any thread.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/limits.hpp"

namespace farshore::dedupe {

/// What decoding one stream may take at a time: its window (a stream may claim 16 MiB) and its
/// prefix codes (up to 3 MiB).
constexpr std::size_t brotli_memory_max = 6 * limits::MiB;

/// Returns the length in `out`, less than the input's; 0 when the input doesn't shrink, `out` is
/// then unspecified. Takes about 3 MiB meanwhile.
std::size_t brotli_compress(bytes_view input, bytes_span out);
/// As decompressor::decompress.
result<> brotli_decompress(bytes_view input, bytes_span out);

} // namespace farshore::dedupe
