#include "dedupe/compress.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>
#include <zstd.h>

#include <brotli/encode.h>

using namespace farshore;
using namespace farshore::codec_test;

namespace {

struct packed {
    dedupe::body_packing how = dedupe::body_packing::none;
    byte_vector bytes;
};

packed compressed(bytes_view input, int level) {
    dedupe::compressor packer(level);
    byte_vector out(input.size());
    const dedupe::packed_body made = packer.compress(input, out);
    out.resize(made.bytes);
    return {made.packing, std::move(out)};
}

byte_vector repeated(const page &p, std::size_t times) {
    byte_vector out;
    for (std::size_t i = 0; i < times; ++i) {
        append_bytes(out, p);
    }
    return out;
}

} // namespace

TEST_SUITE("dedupe") {
    TEST_CASE("compress: what shrinks comes back, at every level and beyond the known ones") {
        const byte_vector input = repeated(noise(3), 5);
        dedupe::decompressor decompressor;
        for (int level = -3; level <= 30; ++level) {
            const packed made = compressed(input, level);
            CHECK(made.how == (level > dedupe::zstd_level_max ? dedupe::body_packing::brotli
                                                              : dedupe::body_packing::zstd));
            CHECK(made.bytes.size() < input.size() / 4);
            byte_vector back(input.size());
            CHECK(decompressor.decompress(made.how, made.bytes, back));
            CHECK(back == input);
        }
    }

    TEST_CASE("compress: what does not shrink is left alone") {
        const page random = noise(4);
        for (const int level : {1, 3, 4, 12, dedupe::level_dense}) {
            for (const bytes_view input : {bytes_view(random), bytes_view(), as_bytes("a")}) {
                CHECK(compressed(input, level).how == dedupe::body_packing::none);
                CHECK(compressed(input, level).bytes.empty());
            }
        }
    }

    TEST_CASE("compress: repeats across blocks are found in data that looks random up close") {
        CHECK(!compressed(repeated(noise(5), 2), 12).bytes.empty());
        CHECK(!compressed(repeated(noise(5), 2), dedupe::level_dense).bytes.empty());
    }

    TEST_CASE("decompress: one frame, all of the input, exactly the length that was promised") {
        const byte_vector input = repeated(filled(7), 2);
        for (const int level : {1, dedupe::level_dense}) {
            const auto [how, bytes] = compressed(input, level);
            dedupe::decompressor decompressor;
            byte_vector out(input.size());
            byte_vector shorter(input.size() - 1);
            byte_vector longer(input.size() + 1);
            CHECK(decompressor.decompress(how, bytes, out));
            CHECK(out == input);
            CHECK_FALSE(decompressor.decompress(how, bytes, shorter));
            CHECK_FALSE(decompressor.decompress(how, bytes, longer));
            CHECK_FALSE(decompressor.decompress(how, {}, out));
            CHECK_FALSE(decompressor.decompress(dedupe::body_packing::none, bytes, out));
            for (std::size_t n = 0; n < bytes.size(); ++n) {
                CHECK_FALSE(decompressor.decompress(how, bytes_view(bytes).first(n), out));
            }
            byte_vector trailing = bytes;
            trailing.push_back(std::byte{0});
            CHECK_FALSE(decompressor.decompress(how, trailing, out));
            byte_vector twice = bytes;
            append_bytes(twice, bytes);
            byte_vector both(2 * input.size());
            CHECK_FALSE(decompressor.decompress(how, twice, both));
        }
    }

    TEST_CASE("decompress: a frame that unfolds to far more than promised is refused") {
        const byte_vector huge(64 * limits::MiB);
        byte_vector bomb(ZSTD_compressBound(huge.size()));
        bomb.resize(ZSTD_compress(bomb.data(), bomb.size(), huge.data(), huge.size(), 1));
        byte_vector out(4096);
        const auto outcome =
            dedupe::decompressor().decompress(dedupe::body_packing::zstd, bomb, out);
        REQUIRE_FALSE(outcome);
        CHECK(is(outcome.error(), errc::corrupt));
    }

    TEST_CASE(
        "decompress: a brotli stream that unfolds to more, or claims memory for it, is refused") {
        const byte_vector huge(64 * limits::MiB);
        for (const int window_bits : {20, BROTLI_MAX_WINDOW_BITS}) {
            byte_vector bomb(BrotliEncoderMaxCompressedSize(huge.size()));
            std::size_t length = bomb.size();
            REQUIRE(BrotliEncoderCompress(5, window_bits, BROTLI_MODE_GENERIC, huge.size(),
                                          reinterpret_cast<const std::uint8_t *>(huge.data()),
                                          &length, reinterpret_cast<std::uint8_t *>(bomb.data())) ==
                    BROTLI_TRUE);
            byte_vector out(4096);
            const auto outcome = dedupe::decompressor().decompress(
                dedupe::body_packing::brotli, bytes_view(bomb).first(length), out);
            REQUIRE_FALSE(outcome);
            CHECK(is(outcome.error(), errc::corrupt));
        }
    }

    TEST_CASE("decompress: a window larger than any body gets no memory, even when all would fit") {
        const byte_vector huge(20 * limits::MiB);
        for (const int window_bits : {20, BROTLI_MAX_WINDOW_BITS}) {
            byte_vector stream(BrotliEncoderMaxCompressedSize(huge.size()));
            std::size_t length = stream.size();
            REQUIRE(BrotliEncoderCompress(
                        5, window_bits, BROTLI_MODE_GENERIC, huge.size(),
                        reinterpret_cast<const std::uint8_t *>(huge.data()), &length,
                        reinterpret_cast<std::uint8_t *>(stream.data())) == BROTLI_TRUE);
            byte_vector out(huge.size());
            const auto outcome = dedupe::decompressor().decompress(
                dedupe::body_packing::brotli, bytes_view(stream).first(length), out);
            CHECK(outcome.has_value() == (window_bits == 20));
        }
    }
}
