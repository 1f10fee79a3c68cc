#include "dedupe/codec.hpp"
#include "dedupe/verify.hpp"
#include "tests/support/aborts.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::codec_test;
using dedupe::decoded_payload;
using dedupe::encoded_payload;

namespace {

std::vector<encoded_payload> encode(const change_set &changes, int level = 1) {
    dedupe::encoder encoder({.level = level, .verify = true});
    return encoder.encode(changes.list());
}

decoded_payload decode(const encoded_payload &payload, const dedupe::base_reader &base) {
    dedupe::decoder decoder;
    auto decoded = decoder.decode(payload.bytes.view(), wide_volumes(), base, no_base());
    REQUIRE(decoded);
    return std::move(*decoded);
}

codec_format::payload_header header_of(const encoded_payload &payload) {
    const auto view = codec_format::parse_payload(payload.bytes.view());
    REQUIRE(view);
    return view->header;
}

bool is_data(const block_change &c, int volume, std::uint64_t block, const page &content) {
    return c.kind == change_kind::data && c.volume.value == volume && c.block.value == block &&
           c.count == 1 && std::ranges::equal(c.content, content);
}
bool is_zero_run(const block_change &c, int volume, std::uint64_t block, std::uint64_t count) {
    return c.kind == change_kind::zero && c.volume.value == volume && c.block.value == block &&
           c.count == count && c.content.empty();
}

} // namespace

TEST_SUITE("dedupe") {
    TEST_CASE("codec: nothing in, nothing out") { CHECK(encode({}).empty()); }

    TEST_CASE("codec: a block without a base is sent in full") {
        change_set changes;
        changes.data(1, 77, noise(1));
        const auto payloads = encode(changes);
        REQUIRE(payloads.size() == 1);
        CHECK(payloads[0].blocks == 1);
        CHECK(payloads[0].raw_bytes == 4096);
        CHECK(header_of(payloads[0]).packing == codec_format::body_packing::none);
        CHECK(payloads[0].bytes.size() <= 4096 + 50);
        const auto decoded = decode(payloads[0], no_base());
        REQUIRE(decoded.changes.size() == 1);
        CHECK(is_data(decoded.changes[0], 1, 77, noise(1)));
        CHECK(decoded.bad.empty());
    }

    TEST_CASE("codec: a small change of a page costs little more than its bytes") {
        change_set changes;
        changes.data(0, 5, with(noise(1), 100, {1, 2, 3, 4}), noise(1));
        const auto payloads = encode(changes);
        REQUIRE(payloads.size() == 1);
        CHECK(header_of(payloads[0]).delta_blocks == 1);
        CHECK(payloads[0].bytes.size() <= 46);
        image base;
        base.set(0, 5, noise(1));
        const auto decoded = decode(payloads[0], base.reader());
        REQUIRE(decoded.changes.size() == 1);
        CHECK(is_data(decoded.changes[0], 0, 5, with(noise(1), 100, {1, 2, 3, 4})));
    }

    TEST_CASE("codec: the worked example of docs/formats-codec.md, byte for byte") {
        change_set changes;
        changes.data(0, 5, with(filled(7), 100, {1, 2, 3, 4}), filled(7));
        changes.zero(1, 16, 8);
        const auto payloads = encode(changes);
        REQUIRE(payloads.size() == 1);
        CHECK(to_hex(payloads[0].bytes.view()) == "fc040000"                         // prefix
                                                  "e4d51f56"                         // structure
                                                  "2a76b49a7fe4147c93abaad1e28fdf04" // content
                                                  "000200010804"                     // counts
                                                  "b2648a34"                         // digest
                                                  "160164040301"
                                                  "4008"       // commands
                                                  "01020304"); // literals
    }

    TEST_CASE("codec: a change that changes nothing is dropped") {
        change_set changes;
        changes.data(0, 1, noise(1), noise(1));
        changes.data(0, 2, filled(0), filled(0));
        CHECK(encode(changes).empty());
        changes.data(0, 3, noise(3), noise(2));
        dedupe::encoder encoder({});
        const auto payloads = encoder.encode(changes.list());
        REQUIRE(payloads.size() == 1);
        CHECK(payloads[0].blocks == 1);
        CHECK(encoder.stats().blocks_in == 3);
        CHECK(encoder.stats().same_blocks == 2);
        CHECK(encoder.stats().full_blocks == 1);
        CHECK(encoder.stats().zero_blocks == 0);
        CHECK(encoder.stats().payload_bytes == payloads[0].bytes.size());
    }

    TEST_CASE("codec: zero blocks become runs, whether written as zeroes or as zero changes") {
        change_set changes;
        changes.data(0, 10, filled(0));
        changes.zero(0, 11, 5);
        changes.data(0, 16, filled(0), noise(1)); // zero now, was something
        changes.data(0, 18, filled(0));           // a gap: a run of its own
        changes.zero(1, 19, 1ULL << 25);          // same block number, other volume
        dedupe::encoder encoder({.verify = true});
        const auto payloads = encoder.encode(changes.list());
        REQUIRE(payloads.size() == 1);
        CHECK(payloads[0].blocks == 3);
        CHECK(payloads[0].raw_bytes == 0);
        CHECK(payloads[0].bytes.size() < 60);
        CHECK(encoder.stats().zero_blocks == 8 + (1ULL << 25));
        const auto decoded = decode(payloads[0], no_base());
        REQUIRE(decoded.changes.size() == 3);
        CHECK(is_zero_run(decoded.changes[0], 0, 10, 7));
        CHECK(is_zero_run(decoded.changes[1], 0, 18, 1));
        CHECK(is_zero_run(decoded.changes[2], 1, 19, 1ULL << 25));
    }

    TEST_CASE("codec: a run of zeroes goes on over the end of a payload") {
        change_set changes;
        for (std::uint64_t b = 0; b < limits::frame_blocks_max; ++b) {
            changes.data(0, b, with(noise(b + 1), 9, {1, 2, 3, 4}), noise(b + 1));
        }
        changes.zero(0, limits::frame_blocks_max, 3);
        changes.data(0, 2000, with(noise(1), 9, {1, 2, 3, 4}), noise(1));
        const auto payloads = encode(changes);
        REQUIRE(payloads.size() == 2);
        CHECK(payloads[0].blocks == limits::frame_blocks_max + 1);
        CHECK(payloads[1].blocks == 1);
    }

    TEST_CASE("codec: full blocks go into a payload up to its body's size") {
        constexpr std::size_t most = codec_format::body_bytes_max / block_bytes;
        for (const std::size_t count : {most - 1, most, 2 * most}) {
            change_set changes;
            for (std::uint64_t b = 0; b < count; ++b) {
                changes.data(0, 2 * b, noise(b + 1), noise(0));
            }
            const auto payloads = encode(changes);
            CHECK(payloads.size() == (count == 2 * most ? 3 : count == most ? 2 : 1));
            std::size_t blocks = 0;
            for (const auto &p : payloads) {
                CHECK(p.bytes.size() <= limits::frame_payload_bytes_max);
                blocks += p.blocks;
            }
            CHECK(blocks == count);
        }
    }

    TEST_CASE("codec: at most so many blocks to a payload, however small") {
        for (const std::size_t count : {limits::frame_blocks_max - 1, limits::frame_blocks_max,
                                        limits::frame_blocks_max + 1}) {
            change_set changes;
            for (std::uint64_t b = 0; b < count; ++b) {
                changes.data(0, 2 * b, noise(b + 1), with(noise(b + 1), 9, {1, 2, 3, 4}));
            }
            const auto payloads = encode(changes);
            REQUIRE(payloads.size() == (count > limits::frame_blocks_max ? 2 : 1));
            CHECK(payloads[0].raw_bytes == std::min(count, limits::frame_blocks_max) * block_bytes);
            for (const auto &p : payloads) {
                CHECK(p.bytes.size() <= limits::frame_payload_bytes_max);
            }
        }
    }

    TEST_CASE("codec: at most so many operations to a payload") {
        for (const std::size_t count :
             {codec_format::operations_max, codec_format::operations_max + 1}) {
            change_set changes;
            for (std::uint64_t b = 0; b < count; ++b) {
                changes.zero(0, 2 * b, 1);
            }
            const auto payloads = encode(changes);
            REQUIRE(payloads.size() == (count > codec_format::operations_max ? 2 : 1));
            CHECK(payloads[0].blocks == codec_format::operations_max);
        }
    }

    TEST_CASE("codec: the dearest payload there can be stays within its limit") {
        // Positions, counts and volume steps as long as they get, blocks that don't compress.
        change_set changes;
        const std::uint64_t far = 1ULL << 36;
        for (int volume = 1; volume < 1024; ++volume) {
            changes.zero(volume, far, far);
            changes.zero(volume, 3 * far, 1);
            if (volume % 4 == 0) {
                changes.data(volume, 3 * far + 1, noise(static_cast<std::uint64_t>(volume)));
            }
            changes.zero(volume, codec_format::blocks_per_volume_max - 2, 2);
        }
        const auto payloads = encode(changes);
        REQUIRE(payloads.size() == 1);
        CHECK(payloads[0].blocks == 3 * 1023 + 255);
        CHECK(payloads[0].bytes.size() <= limits::frame_payload_bytes_max);
    }

    TEST_CASE("codec: first and last block of volumes, next to each other and far apart") {
        change_set changes;
        const std::uint64_t last = codec_format::blocks_per_volume_max - 1;
        changes.data(0, 0, noise(1));
        changes.data(0, last, noise(2));
        changes.data(5, 0, noise(3));
        changes.zero(1023, last, 1);
        const auto payloads = encode(changes);
        REQUIRE(payloads.size() == 1);
        const std::vector<std::uint64_t> volumes(1024, codec_format::blocks_per_volume_max);
        dedupe::decoder decoder;
        const auto decoded =
            decoder.decode(payloads[0].bytes.view(), volumes, no_base(), no_base());
        REQUIRE(decoded);
        REQUIRE(decoded->changes.size() == 4);
        CHECK(is_data(decoded->changes[0], 0, 0, noise(1)));
        CHECK(is_data(decoded->changes[1], 0, last, noise(2)));
        CHECK(is_data(decoded->changes[2], 5, 0, noise(3)));
        CHECK(is_zero_run(decoded->changes[3], 1023, last, 1));
    }

    TEST_CASE("codec: one block beyond a volume, and a volume too many, are refused") {
        change_set changes;
        changes.data(0, 9, noise(1));
        changes.zero(1, 4, 4);
        const auto payloads = encode(changes);
        REQUIRE(payloads.size() == 1);
        dedupe::decoder decoder;
        const auto with_sizes = [&](std::vector<std::uint64_t> sizes) {
            const auto outcome =
                decoder.decode(payloads[0].bytes.view(), sizes, no_base(), no_base());
            return outcome ? std::error_code{} : outcome.error().code;
        };
        CHECK(with_sizes({10, 8}) == std::error_code{});
        CHECK(with_sizes({9, 8}) == errc::corrupt);
        CHECK(with_sizes({10, 7}) == errc::corrupt);
        CHECK(with_sizes({10, 4}) == errc::corrupt);
        CHECK(with_sizes({10}) == errc::corrupt);
        CHECK(with_sizes({}) == errc::corrupt);
    }

    TEST_CASE("codec: compressible content is compressed at every level, and levels can change") {
        change_set changes;
        for (std::uint64_t b = 0; b < 64; ++b) {
            changes.data(0, b, with(filled(1 + static_cast<int>(b)), 5, {7, 8, 9}));
        }
        dedupe::encoder encoder({.level = 1, .verify = true});
        for (int level = 1; level <= dedupe::encoder_options::dense; ++level) {
            encoder.set_level(level);
            const auto payloads = encoder.encode(changes.list());
            REQUIRE(payloads.size() == 1);
            CHECK(header_of(payloads[0]).packing == (level == dedupe::encoder_options::dense
                                                         ? codec_format::body_packing::brotli
                                                         : codec_format::body_packing::zstd));
            CHECK(payloads[0].bytes.size() < 4096);
            CHECK(decode(payloads[0], no_base()).changes.size() == 64);
        }
    }

    TEST_CASE(
        "codec: a wrong base gives the run of blocks as bad whose digest it shares, no others") {
        constexpr std::uint64_t run = codec_format::digest_blocks;
        constexpr std::uint64_t count = 3 * run - 5; // the last run is shorter
        change_set changes;
        image base;
        for (std::uint64_t b = 0; b < count; ++b) {
            base.set(0, 2 * b, noise(b));
            changes.data(0, 2 * b, with(noise(b), 50, {1, 2, 3}), noise(b));
            changes.zero(0, 2 * b + 1, 1); // counts for no run
        }
        const auto payloads = encode(changes);
        REQUIRE(payloads.size() == 1);
        const auto is_in = [](std::uint64_t which, block_index block) {
            return block.value / (2 * run) == which;
        };
        for (const std::uint64_t wrong : {run - 1, run, 2 * run - 1, 2 * run, count - 1}) {
            image other = base;
            other.set(0, 2 * wrong, with(noise(wrong), 4000, {0, 0, 0}));
            const std::uint64_t right = (wrong + run) % count;
            other.set(0, 2 * right, with(noise(right), 50, {9, 9, 9})); // where new bytes go anyhow
            const auto decoded = decode(payloads[0], other.reader());
            const std::uint64_t which = wrong / run;
            CHECK(decoded.bad.size() == std::min(run, count - which * run));
            for (const dedupe::bad_block &bad : decoded.bad) {
                CHECK(is_in(which, bad.block));
                CHECK(bad.block.value % 2 == 0);
            }
            CHECK(decoded.changes.size() + decoded.bad.size() == 2 * count);
            for (const block_change &c : decoded.changes) {
                const std::uint64_t b = c.block.value / 2;
                const bool zero = c.kind == change_kind::zero && c.block.value % 2 == 1;
                const bool data =
                    !is_in(which, c.block) && is_data(c, 0, 2 * b, with(noise(b), 50, {1, 2, 3}));
                CHECK((zero || data));
            }
        }
    }

    TEST_CASE("codec: a base that can't be read is the reader's error") {
        change_set changes;
        changes.data(0, 1, with(noise(1), 0, {1}), noise(1));
        const auto payloads = encode(changes);
        const auto outcome = dedupe::decoder().decode(payloads[0].bytes.view(), wide_volumes(),
                                                      no_base(), no_base());
        REQUIRE_FALSE(outcome);
        CHECK(is(outcome.error(), errc::dead));
    }

    TEST_CASE("codec: content views outlive the decoder and stay good when the payload moves") {
        change_set changes;
        changes.data(0, 1, with(noise(1), 0, {1}), noise(1));
        changes.data(0, 2, filled(2));
        const auto payloads = encode(changes);
        image base;
        base.set(0, 1, noise(1));
        decoded_payload kept;
        {
            dedupe::decoder first;
            dedupe::decoder moved(std::move(first));
            auto decoded =
                moved.decode(payloads[0].bytes.view(), wide_volumes(), base.reader(), no_base());
            REQUIRE(decoded);
            kept = std::move(*decoded);
            CHECK(moved.decode(payloads[0].bytes.view(), wide_volumes(), base.reader(), no_base()));
        }
        CHECK(is_data(kept.changes[0], 0, 1, with(noise(1), 0, {1})));
        CHECK(is_data(kept.changes[1], 0, 2, filled(2)));
    }

    TEST_CASE("codec: the self-check says when payloads and changes differ") {
        change_set right;
        right.data(0, 1, noise(1));
        right.zero(0, 2, 2);
        change_set other_content;
        other_content.data(0, 1, noise(2));
        other_content.zero(0, 2, 2);
        change_set longer;
        longer.data(0, 1, noise(1));
        longer.zero(0, 2, 3);
        change_set shorter;
        shorter.data(0, 1, noise(1));
        const auto payloads = encode(right);
        CHECK(dedupe::verify_payloads(right.list(), {}, {}, {}, payloads));
        CHECK_FALSE(dedupe::verify_payloads(other_content.list(), {}, {}, {}, payloads));
        CHECK_FALSE(dedupe::verify_payloads(longer.list(), {}, {}, {}, payloads));
        CHECK_FALSE(dedupe::verify_payloads(shorter.list(), {}, {}, {}, payloads));
    }

    TEST_CASE("codec: changes out of order are a bug of the caller") {
        change_set twice;
        twice.data(0, 1, noise(1));
        twice.data(0, 1, noise(2));
        change_set overlap;
        overlap.zero(0, 1, 5);
        overlap.data(0, 5, noise(2));
        CHECK(test::aborts([&] { encode(twice); }));
        CHECK(test::aborts([&] { encode(overlap); }));
    }
}
