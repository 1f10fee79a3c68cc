// Programs of rebuilt blocks: what is written is what is read, and what is refused.

#include "replicator/format/codec_program.hpp"

#include <doctest/doctest.h>

#include <array>
#include <utility>

using namespace farshore;
using namespace farshore::codec_format;

namespace {

constexpr std::array<std::uint64_t, 2> volumes = {100, 8};
constexpr block_index target{50};
constexpr std::uint64_t target_address = 50 * block_bytes;

/// A program by hand: literals, then length, source and what follows it.
struct hand {
    byte_vector bytes;
    byte_writer out{bytes};

    hand &step(std::uint64_t literals, std::uint64_t length, unsigned source) {
        out.varint(literals);
        out.varint(length << 3 | source);
        return *this;
    }
    hand &at(std::uint64_t volume, bool now, std::uint64_t address) {
        out.varint(volume << 1 | (now ? 1U : 0U));
        for (std::size_t i = 0; i < address_bytes; ++i) {
            out.u8(static_cast<std::uint8_t>(address >> (8 * i)));
        }
        return *this;
    }
    hand &end(std::uint64_t literals) {
        out.varint(literals);
        return *this;
    }
    result<std::vector<program_step>> read() const {
        byte_reader reader(bytes);
        recent_places recent;
        std::vector<program_step> steps;
        FS_CHECK(read_program(reader, target, volumes, recent, steps));
        return steps;
    }
};

errc refusal(const hand &program) {
    const auto steps = program.read();
    REQUIRE_FALSE(steps);
    return is(steps.error(), errc::unsupported) ? errc::unsupported : errc::corrupt;
}

} // namespace

TEST_SUITE("format") {
    TEST_CASE("program: what was written is what is read") {
        byte_vector bytes;
        program_writer writer(bytes);
        recent_places recent;
        const source_place first{volume_index{1}, true, 1000};
        writer.literals(10);
        writer.copy(first, target_address + 10, 90, recent);
        writer.literals(3);
        writer.copy_behind_differences(97);
        writer.literals(0);
        writer.copy_own(block_bytes - 200);
        byte_reader reader(bytes);
        recent_places other;
        std::vector<program_step> steps;
        REQUIRE(read_program(reader, target, volumes, other, steps));
        REQUIRE(steps.size() == 3);
        CHECK((steps[0].literals == 10 && steps[0].length == 90 && !steps[0].differs));
        CHECK(steps[0].source == first);
        CHECK((steps[1].literals == 3 && steps[1].length == 97 && steps[1].differs));
        CHECK(steps[1].source == source_place{volume_index{1}, true, 1000 + 93});
        CHECK((steps[2].own && steps[2].length == block_bytes - 200));
    }

    TEST_CASE("program: differences need literals, a recent place and bytes before it") {
        const auto program = [](std::uint64_t address, std::uint64_t literals) {
            hand h;
            h.step(0, 8, 5).at(0, false, address).step(literals, 8, 6);
            return h.end(block_bytes - 16 - literals);
        };
        CHECK(program(0, 8).read());
        CHECK(program(100 * block_bytes - 17, 1).read());
        CHECK(refusal(program(0, 0)) == errc::corrupt);
        CHECK(refusal(program(100 * block_bytes - 16, 1)) == errc::corrupt); // one byte beyond
        hand first;
        first.step(3, 8, 6);
        CHECK(refusal(first) == errc::corrupt);
    }

    // The copy stands at a place whose differences would begin before the volume.
    TEST_CASE("program: differences reach back to the first byte of a volume and no further") {
        const auto program = [](std::uint64_t literals) {
            hand h;
            // Bytes 0 to 7 come from address 0: byte n of the block is at address n.
            h.step(0, 8, 5).at(1, false, 0).step(0, 8, 0).step(literals, 8, 6);
            return h.end(block_bytes - 24 - literals);
        };
        CHECK(program(1).read());
        hand before;
        before.step(8, 8, 5).at(1, false, 4).step(20, 8, 6).end(block_bytes - 44);
        CHECK(before.read()); // from address 12 on
        hand outside;
        outside.step(600, 8, 5).at(1, false, 0).step(1, 8, 6).end(block_bytes - 617);
        CHECK(outside.read());
    }

    TEST_CASE("program: lengths and sources at and beyond their limits") {
        hand shortest;
        shortest.step(0, 8, 5).at(0, false, 0).end(block_bytes - 8);
        CHECK(shortest.read());
        hand shorter;
        shorter.step(0, 7, 5).at(0, false, 0).end(block_bytes - 7);
        CHECK(refusal(shorter) == errc::corrupt);
        hand unknown;
        unknown.step(1, 8, 7);
        CHECK(refusal(unknown) == errc::unsupported);
        hand beyond;
        beyond.step(0, 8, 5).at(1, false, 8 * block_bytes - 7).end(block_bytes - 8);
        CHECK(refusal(beyond) == errc::corrupt);
        hand no_volume;
        no_volume.step(0, 8, 5).at(2, false, 0).end(block_bytes - 8);
        CHECK(refusal(no_volume) == errc::corrupt);
        hand too_long;
        too_long.step(1, block_bytes, 0);
        CHECK(refusal(too_long) == errc::corrupt);
        hand literals;
        literals.end(block_bytes + 1);
        CHECK(refusal(literals) == errc::corrupt);
    }

    TEST_CASE("program: cut short at any byte it is refused") {
        hand whole;
        whole.step(5, 20, 5).at(0, true, 777).step(4, 30, 6).end(block_bytes - 59);
        REQUIRE(whole.read());
        for (std::size_t n = 0; n < whole.bytes.size(); ++n) {
            hand part;
            part.bytes.assign(whole.bytes.begin(), whole.bytes.begin() + static_cast<long>(n));
            CHECK(refusal(part) == errc::corrupt);
        }
    }
}
