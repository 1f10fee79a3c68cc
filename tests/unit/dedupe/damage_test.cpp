// Payloads that are wrong: damaged by accident, or made by hand to be hostile.

#include "dedupe/block_digest.hpp"
#include "dedupe/codec.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::codec_test;

namespace {

/// Two volumes, every operation; `compressible` decides whether the body gets compressed.
change_set sample_changes(bool compressible) {
    change_set changes;
    const page other = compressible ? filled(3) : noise(4);
    const page content = compressible ? filled(3) : noise(3);
    changes.data(0, 1, with(noise(1), 40, {1, 2, 3, 4, 5}), noise(1));
    changes.zero(0, 2, 3);
    changes.data(0, 9, content);
    changes.data(1, 2, with(with(noise(2), 0, {1}), 4095, {1}), noise(2));
    changes.data(1, 3, with(other, 7, {1, 2}));
    changes.zero(1, 1000, 1000);
    return changes;
}

image sample_base() {
    image base;
    base.set(0, 1, noise(1));
    base.set(1, 2, noise(2));
    return base;
}

byte_vector sample_payload(bool compressible) {
    const change_set changes = sample_changes(compressible);
    auto payloads = dedupe::encoder({.verify = true}).encode(changes.list());
    REQUIRE(payloads.size() == 1);
    const bytes_view bytes = payloads[0].bytes.view();
    REQUIRE((codec_format::parse_payload(bytes)->header.packing !=
             codec_format::body_packing::none) == compressible);
    return {bytes.begin(), bytes.end()};
}

/// Whether `c` is one of the true changes.
bool is_true_change(const block_change &c, const change_set &truth) {
    return std::ranges::any_of(truth.list(), [&](const block_change &t) {
        return t.volume == c.volume && t.block == c.block && t.kind == c.kind &&
               t.count == c.count && std::ranges::equal(t.content, c.content);
    });
}

std::error_code code_of(const byte_vector &payload) {
    const auto outcome = dedupe::decoder().decode(payload, wide_volumes(), no_base(), no_base());
    return outcome ? std::error_code{} : outcome.error().code;
}
std::error_code code_of(const raw_payload &payload) { return code_of(payload.build()); }

/// A valid payload: one zero run.
raw_payload zero_run() {
    raw_payload p;
    p.content = checksum_128({});
    p.commands = varints({5 << 2 | 0, 3});
    return p;
}

/// A valid payload: one full block at (0, 0).
raw_payload full_block() {
    raw_payload p;
    p.full_blocks = 1;
    p.full = noise(8);
    p.commands = varints({1});
    const auto digest = dedupe::block_digest(volume_index{0}, block_index{0}, p.full);
    const auto wire = dedupe::to_wire(digest);
    p.digests = {dedupe::short_digest({&wire, 1})};
    p.content = checksum_128(struct_bytes(wire));
    return p;
}

/// A valid payload: one delta over a base of zeroes at (0, 0), with these runs.
raw_payload delta_block(std::initializer_list<std::uint64_t> commands, std::size_t literals) {
    raw_payload p;
    p.delta_blocks = 1;
    p.commands = varints(commands);
    p.literals = byte_vector(literals, std::byte{1});
    p.digests = {0};
    return p;
}

} // namespace

TEST_SUITE("dedupe") {
    TEST_CASE("damage: a payload cut short at any byte is an error") {
        for (const bool compressible : {false, true}) {
            const byte_vector payload = sample_payload(compressible);
            const image base = sample_base();
            dedupe::decoder decoder;
            for (std::size_t n = 0; n < payload.size(); ++n) {
                CHECK_FALSE(decoder.decode(bytes_view(payload).first(n), wide_volumes(),
                                           base.reader(), no_base()));
            }
            byte_vector longer = payload;
            longer.push_back(std::byte{0});
            CHECK_FALSE(decoder.decode(longer, wide_volumes(), base.reader(), no_base()));
        }
    }

    TEST_CASE("damage: a payload with any bit changed never hands out a wrong block") {
        for (const bool compressible : {false, true}) {
            const change_set truth = sample_changes(compressible);
            const image base = sample_base();
            byte_vector payload = sample_payload(compressible);
            dedupe::decoder decoder;
            std::size_t unnoticed = 0;
            for (std::size_t i = 0; i < payload.size(); ++i) {
                const std::byte original = payload[i];
                for (const int flip : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
                    payload[i] = original ^ static_cast<std::byte>(flip);
                    const auto decoded =
                        decoder.decode(payload, wide_volumes(), base.reader(), no_base());
                    if (!decoded) {
                        continue;
                    }
                    unnoticed += decoded->bad.empty() ? 1 : 0;
                    const bool all_true =
                        std::ranges::all_of(decoded->changes, [&](const block_change &c) {
                            return is_true_change(c, truth);
                        });
                    const bool complete =
                        decoded->changes.size() + decoded->bad.size() == truth.list().size();
                    if (!all_true || !complete) {
                        CAPTURE(i);
                        CAPTURE(flip);
                        REQUIRE(all_true);
                        REQUIRE(complete);
                    }
                }
                payload[i] = original;
            }
            // Raw bodies have no bit without a meaning; a zstd frame has a few.
            CHECK(unnoticed <= (compressible ? 16 : 0));
        }
    }

    TEST_CASE("damage: magic, version, flags and history that this version does not know") {
        CHECK(code_of(zero_run()) == std::error_code{});
        raw_payload p = zero_run();
        p.magic = 0xFD;
        CHECK(code_of(p) == errc::corrupt);
        for (const int version : {0, 1, 2, 3, 5, 255}) {
            p = zero_run();
            p.version = static_cast<std::uint8_t>(version);
            CHECK(code_of(p) == errc::unsupported);
        }
        for (int bit = 2; bit < 16; ++bit) {
            p = zero_run();
            p.flags = static_cast<std::uint16_t>(1 << bit);
            CHECK(code_of(p) == errc::unsupported);
        }
        for (const std::uint64_t history : {1ULL, 128ULL, ~0ULL}) {
            p = zero_run();
            p.history = history;
            CHECK(code_of(p) == errc::unsupported);
        }
        for (const std::uint64_t opcode : {2ULL, 3ULL, 1ULL << 40}) {
            p = zero_run();
            p.commands = varints({opcode << 2 | 3, 1});
            CHECK(code_of(p) == errc::unsupported);
        }
        p = zero_run();
        p.structure = 12345;
        CHECK(code_of(p) == errc::corrupt);
    }

    TEST_CASE("damage: header counts at and beyond their limits") {
        raw_payload p = zero_run();
        p.operations = 0;
        p.commands = varints({});
        CHECK(code_of(p) == errc::limit);

        p = zero_run();
        const std::size_t most = codec_format::operations_max;
        p.operations = most;
        p.commands.clear();
        for (std::size_t i = 0; i < most; ++i) {
            append_bytes(p.commands, varints({0, 1}));
        }
        CHECK(code_of(p) == std::error_code{});
        p.operations = most + 1;
        append_bytes(p.commands, varints({0, 1}));
        CHECK(code_of(p) == errc::limit);

        for (const std::uint64_t huge : {std::uint64_t{1} << 32, ~std::uint64_t{0}}) {
            p = zero_run();
            p.operations = huge;
            CHECK(code_of(p) == errc::limit);
            p = zero_run();
            p.full_blocks = huge;
            CHECK(code_of(p) == errc::limit);
            p = zero_run();
            p.delta_blocks = huge;
            CHECK(code_of(p) == errc::limit);
            p = zero_run();
            p.command_bytes = huge;
            CHECK(code_of(p) == errc::limit);
            p = zero_run();
            p.literal_bytes = huge;
            CHECK(code_of(p) == errc::limit);
        }
        p = zero_run();
        p.full_blocks = limits::frame_blocks_max;
        p.delta_blocks = 1;
        p.operations = limits::frame_blocks_max + 1;
        CHECK(code_of(p) == errc::limit);
        p = zero_run();
        p.full_blocks = 2; // more data blocks than operations
        CHECK(code_of(p) == errc::limit);
        p = zero_run();
        p.literal_bytes = 1; // literals without a delta
        CHECK(code_of(p) == errc::limit);

        const byte_vector long_payload(limits::frame_payload_bytes_max + 1, std::byte{0xFC});
        CHECK(code_of(long_payload) == errc::limit);
        CHECK(code_of(byte_vector{}) == errc::corrupt);
    }

    TEST_CASE("damage: a body of another length than the header says") {
        raw_payload p = full_block();
        CHECK(code_of(p) == std::error_code{});
        p.full.push_back(std::byte{0});
        CHECK(code_of(p) == errc::corrupt);
        p = full_block();
        p.full.pop_back();
        CHECK(code_of(p) == errc::corrupt);
        p = full_block();
        for (const int packed : {1, 2, 3}) {
            p = full_block();
            p.full.pop_back();
            p.flags = static_cast<std::uint16_t>(packed); // but as long as the raw body
            CHECK(code_of(p) == errc::corrupt);
            p.stored = byte_vector(11, std::byte{0x28});
            CHECK(code_of(p) == errc::corrupt);
            p.stored = byte_vector{};
            CHECK(code_of(p) == errc::corrupt);
        }
    }

    TEST_CASE("damage: commands and header that disagree") {
        raw_payload p = zero_run();
        p.operations = 2; // one too few commands
        CHECK(code_of(p) == errc::corrupt);
        p = zero_run();
        p.commands = varints({0, 1, 0, 1}); // one too many
        CHECK(code_of(p) == errc::corrupt);
        p = full_block();
        p.commands = varints({0, 1}); // a zero run where a full block is announced
        CHECK(code_of(p) == errc::corrupt);
        p = full_block();
        p.commands = varints({2, 1, 0, 1}); // a delta
        CHECK(code_of(p) == errc::corrupt);
        p = zero_run();
        p.commands = {std::byte{0x80}, std::byte{0x00}}; // not the shortest form
        CHECK(code_of(p) == errc::corrupt);
    }

    TEST_CASE("damage: volume switches") {
        raw_payload p = zero_run();
        p.commands = varints({3, 1, 0, 1});
        CHECK(code_of(p) == std::error_code{});
        p.commands = varints({3, 3, 0, 1});
        CHECK(code_of(p) == std::error_code{}); // the last of four volumes
        p.commands = varints({3, 4, 0, 1});
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({3, 0, 0, 1});
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({3, ~0ULL, 0, 1});
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({3, 1, 3, 1, 0, 1}); // twice in a row
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({0, 1, 3, 1}); // with nothing after it
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({3, 1});
        CHECK(code_of(p) == errc::corrupt);
    }

    TEST_CASE("damage: positions and zero runs up to the end of the volume and beyond") {
        const std::uint64_t size = wide_volumes()[0];
        raw_payload p = zero_run();
        p.commands = varints({(size - 1) << 2, 1});
        CHECK(code_of(p) == std::error_code{});
        p.commands = varints({(size - 1) << 2, 2});
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({size << 2, 1});
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({0, size});
        CHECK(code_of(p) == std::error_code{});
        p.commands = varints({0, size + 1});
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({0, ~0ULL});
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({(~0ULL >> 2) << 2, 1});
        CHECK(code_of(p) == errc::corrupt);
        p.commands = varints({0, 0});
        CHECK(code_of(p) == errc::corrupt);
        p.operations = 2;
        p.commands = varints({0, size, 0, 1}); // behind the end
        CHECK(code_of(p) == errc::corrupt);
    }

    TEST_CASE("damage: runs of a delta up to the end of the block and beyond") {
        // Well-formed ones get as far as asking for the base.
        CHECK(code_of(delta_block({2, 1, 0, 4096}, 4096)) == errc::dead);
        CHECK(code_of(delta_block({2, 1, 4095, 1}, 1)) == errc::dead);
        CHECK(code_of(delta_block({2, 2, 0, 4095, 0, 1}, 4096)) == errc::dead);
        CHECK(code_of(delta_block({2, 1, 0, 4097}, 4096)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 1, 4096, 1}, 1)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 1, 4095, 2}, 2)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 2, 0, 4095, 1, 1}, 4096)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 1, 0, 0}, 0)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 1, ~0ULL, 1}, 1)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 1, 1, ~0ULL}, 1)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 0}, 0)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 4097, 0, 1}, 1)) == errc::corrupt);
        CHECK(code_of(delta_block({2, ~0ULL, 0, 1}, 1)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 2, 0, 1}, 1)) == errc::corrupt);
        // Literals: one less, one more than the runs take.
        CHECK(code_of(delta_block({2, 1, 0, 10}, 9)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 1, 0, 10}, 11)) == errc::corrupt);
        CHECK(code_of(delta_block({2, 1, 0, 10}, 4097)) == errc::limit);
    }

    TEST_CASE("damage: short digests that fit but a long one that does not distrust all data") {
        raw_payload p = full_block();
        p.operations = 2;
        append_bytes(p.commands, varints({0, 7}));
        dedupe::decoder decoder;
        auto decoded = decoder.decode(p.build(), wide_volumes(), no_base(), no_base());
        REQUIRE(decoded);
        CHECK(decoded->bad.empty());
        CHECK(decoded->changes.size() == 2);
        p.content.high ^= 1;
        decoded = decoder.decode(p.build(), wide_volumes(), no_base(), no_base());
        REQUIRE(decoded);
        REQUIRE(decoded->bad.size() == 1);
        CHECK(decoded->bad[0].block == block_index{0});
        REQUIRE(decoded->changes.size() == 1);
        CHECK(decoded->changes[0].kind == change_kind::zero);
    }

    TEST_CASE("damage: content at another place does not fit its digest") {
        for (const std::uint64_t gap : {1ULL, 2ULL, 1000ULL, 1ULL << 29}) {
            raw_payload p = full_block();
            p.commands = varints({gap << 2 | 1});
            const auto decoded =
                dedupe::decoder().decode(p.build(), wide_volumes(), no_base(), no_base());
            REQUIRE(decoded);
            CHECK(decoded->bad.size() == 1);
        }
        raw_payload p = full_block();
        p.commands = varints({3, 1, 1}); // another volume
        const auto decoded =
            dedupe::decoder().decode(p.build(), wide_volumes(), no_base(), no_base());
        REQUIRE(decoded);
        CHECK(decoded->bad.size() == 1);
    }
}
