#include "dedupe/compress.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>
#include <zstd.h>

using namespace farshore;
using namespace farshore::codec_test;

namespace {

byte_vector compressed(bytes_view input, int level) {
    dedupe::compressor zstd(level);
    byte_vector out(input.size());
    out.resize(zstd.compress(input, out));
    return out;
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
            const byte_vector packed = compressed(input, level);
            REQUIRE(!packed.empty());
            CHECK(packed.size() < input.size() / 4);
            byte_vector back(input.size());
            CHECK(decompressor.decompress(packed, back));
            CHECK(back == input);
        }
    }

    TEST_CASE("compress: what does not shrink is left alone") {
        for (const int level : {1, 3, 4, 12}) {
            CHECK(compressed(noise(4), level).empty());
            CHECK(compressed({}, level).empty());
            CHECK(compressed(as_bytes("a"), level).empty());
        }
    }

    TEST_CASE("compress: repeats across blocks are found in data that looks random up close") {
        CHECK(!compressed(repeated(noise(5), 2), 12).empty());
    }

    TEST_CASE("decompress: one frame, all of the input, exactly the length that was promised") {
        const byte_vector input = repeated(filled(7), 2);
        const byte_vector packed = compressed(input, 1);
        dedupe::decompressor decompressor;
        byte_vector out(input.size());
        byte_vector shorter(input.size() - 1);
        byte_vector longer(input.size() + 1);
        CHECK(decompressor.decompress(packed, out));
        CHECK_FALSE(decompressor.decompress(packed, shorter));
        CHECK_FALSE(decompressor.decompress(packed, longer));
        CHECK_FALSE(decompressor.decompress({}, out));
        for (std::size_t n = 0; n < packed.size(); ++n) {
            CHECK_FALSE(decompressor.decompress(bytes_view(packed).first(n), out));
        }
        byte_vector trailing = packed;
        trailing.push_back(std::byte{0});
        CHECK_FALSE(decompressor.decompress(trailing, out));
        byte_vector twice = packed;
        append_bytes(twice, packed);
        byte_vector both(2 * input.size());
        CHECK_FALSE(decompressor.decompress(twice, both));
    }

    TEST_CASE("decompress: a frame that unfolds to far more than promised is refused") {
        const byte_vector huge(64 * limits::MiB);
        byte_vector bomb(ZSTD_compressBound(huge.size()));
        bomb.resize(ZSTD_compress(bomb.data(), bomb.size(), huge.data(), huge.size(), 1));
        byte_vector out(4096);
        const auto outcome = dedupe::decompressor().decompress(bomb, out);
        REQUIRE_FALSE(outcome);
        CHECK(is(outcome.error(), errc::corrupt));
    }
}
