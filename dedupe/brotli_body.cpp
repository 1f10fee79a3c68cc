#include "dedupe/brotli_body.hpp"

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <cstdlib>
#include <memory>

namespace farshore::dedupe {

namespace {

/// The lowest at which brotli models literals by their context; 6 gains 0.4 % for a quarter more
/// time.
constexpr int quality = 5;
constexpr int window_bits = 20; ///< 1 MiB: about the largest body

/// The decoder's allocator: refuses what goes beyond brotli_memory_max.
class memory_budget {
  public:
    static void *take(void *budget, std::size_t bytes) {
        auto &left = static_cast<memory_budget *>(budget)->left_;
        if (bytes > left) {
            return nullptr;
        }
        void *at = std::malloc(head_bytes + bytes); // NOLINT: what a C library frees by a callback
        if (at == nullptr) {
            return nullptr;
        }
        *static_cast<std::size_t *>(at) = bytes;
        left -= bytes;
        return static_cast<std::byte *>(at) + head_bytes;
    }
    static void give(void *budget, void *at) {
        if (at == nullptr) {
            return;
        }
        void *start = static_cast<std::byte *>(at) - head_bytes;
        static_cast<memory_budget *>(budget)->left_ += *static_cast<std::size_t *>(start);
        std::free(start); // NOLINT
    }

  private:
    static constexpr std::size_t head_bytes = alignof(std::max_align_t);
    std::size_t left_ = brotli_memory_max;
};

const std::uint8_t *raw(bytes_view bytes) {
    return reinterpret_cast<const std::uint8_t *>(bytes.data());
}
std::uint8_t *raw(bytes_span bytes) { return reinterpret_cast<std::uint8_t *>(bytes.data()); }

} // namespace

std::size_t brotli_compress(bytes_view input, bytes_span out) {
    if (input.size() < 2) {
        return 0;
    }
    std::size_t written = input.size() - 1;
    const BROTLI_BOOL fits = BrotliEncoderCompress(quality, window_bits, BROTLI_MODE_GENERIC,
                                                   input.size(), raw(input), &written, raw(out));
    return fits == BROTLI_TRUE ? written : 0;
}

result<> brotli_decompress(bytes_view input, bytes_span out) {
    memory_budget budget;
    const std::unique_ptr<BrotliDecoderState, decltype(&BrotliDecoderDestroyInstance)> decoder(
        BrotliDecoderCreateInstance(memory_budget::take, memory_budget::give, &budget),
        BrotliDecoderDestroyInstance);
    if (!decoder) {
        return fail(errc::limit, "no memory to decode a codec payload");
    }
    std::size_t input_left = input.size();
    std::size_t room = out.size();
    const std::uint8_t *from = raw(input);
    std::uint8_t *to = raw(out);
    const BrotliDecoderResult ended =
        BrotliDecoderDecompressStream(decoder.get(), &input_left, &from, &room, &to, nullptr);
    if (ended != BROTLI_DECODER_RESULT_SUCCESS || input_left != 0 || room != 0) {
        return fail(errc::corrupt, "codec payload: compressed body does not decode");
    }
    return {};
}

} // namespace farshore::dedupe
