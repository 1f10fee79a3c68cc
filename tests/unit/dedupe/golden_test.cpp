// Payloads written by released versions must decode for ever, or be refused with the errc that
// their name says. Each is a pair in tests/golden/codec: NAME.payload, and NAME.expected with a
// line for each change: "zero VOLUME BLOCK COUNT" or "data VOLUME BLOCK XXH3-128 of the content".
// The base is base_page(volume, block). The files were written by the case "golden: write"
// below (FARSHORE_WRITE_GOLDEN=1, only files that are missing); never overwrite them.

#include "dedupe/codec.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

using namespace farshore;
using namespace farshore::codec_test;

namespace {

std::filesystem::path golden_folder() {
    return std::filesystem::path(__FILE__).parent_path() / "../../golden/codec";
}

page base_page(std::uint64_t volume, std::uint64_t block) { return noise(volume * 100000 + block); }

dedupe::base_reader golden_base() {
    return [](volume_index v, block_index b, bytes_span out) {
        std::ranges::copy(base_page(v.value, b.value), out.begin());
        return result<>{};
    };
}

std::string read_text(const std::filesystem::path &path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::string describe(const dedupe::decoded_payload &decoded) {
    std::string text;
    for (const block_change &c : decoded.changes) {
        if (c.kind == change_kind::zero) {
            text += fmt::format("zero {} {} {}\n", c.volume.value, c.block.value, c.count);
        } else {
            const checksum128 sum = checksum_128(c.content);
            text += fmt::format("data {} {} {:016x}{:016x}\n", c.volume.value, c.block.value,
                                sum.high, sum.low);
        }
    }
    return text;
}

void check_golden(const std::filesystem::path &path) {
    CAPTURE(path.filename().string());
    const std::string payload = read_text(path);
    const auto decoded =
        dedupe::decoder().decode(as_bytes(payload), wide_volumes(), golden_base(), no_base());
    REQUIRE(decoded);
    CHECK(decoded->bad.empty());
    auto expected = path;
    CHECK(describe(*decoded) == read_text(expected.replace_extension(".expected")));
}

change_set mixed_changes() {
    change_set c;
    c.data(0, 0, with(base_page(0, 0), 0, {1, 2, 3}), base_page(0, 0));
    c.data(0, 1, with(with(base_page(0, 1), 100, {5, 6}), 4090, {1, 2, 3, 4, 5, 6}),
           base_page(0, 1));
    c.zero(0, 2, 300);
    c.data(0, 5000, noise(1));
    c.data(0, 5001, filled(65));
    c.data(2, 7, with(filled(66), 17, {1, 2, 3, 4}));
    c.data(2, 8, filled(0));
    c.data(3, (1ULL << 30) - 1, with(base_page(3, (1ULL << 30) - 1), 2000, {0, 0, 0, 0}),
           base_page(3, (1ULL << 30) - 1));
    return c;
}

change_set raw_changes() {
    change_set c;
    c.data(1, 12, noise(77));
    return c;
}

change_set delta_changes() {
    change_set c;
    for (std::uint64_t b = 0; b < 256; ++b) {
        const page before = base_page(0, b);
        page after = before;
        for (std::uint64_t i = 0; i < b % 7 + 1; ++i) {
            after[(b * 331 + i * 517) % block_bytes] ^= static_cast<std::byte>(1 + i);
        }
        c.data(0, b, after, before);
    }
    return c;
}

/// Blocks of volume 1 that are copies of volume 0's old ones, as wholes.
change_set copied_changes() {
    change_set c;
    for (std::uint64_t b = 0; b < 4; ++b) {
        c.data(1, 20 + b, base_page(0, b));
    }
    return c;
}

/// Volume 0's old blocks with every sixteenth byte increased.
change_set renumbered_changes() {
    change_set c;
    for (std::uint64_t b = 0; b < 4; ++b) {
        page p = base_page(0, b);
        for (std::size_t i = 9; i < block_bytes; i += 16) {
            p[i] = static_cast<std::byte>(std::to_integer<unsigned>(p[i]) + 8);
        }
        // Half of it of one value, or the block would look random.
        std::fill_n(p.begin() + block_bytes / 2, block_bytes / 2, std::byte{9});
        c.data(1, 20 + b, p);
    }
    return c;
}

void write_golden(const std::string &name, const change_set &changes, int level,
                  std::span<const dedupe::known_place> known = {}) {
    const auto path = golden_folder() / name;
    if (std::filesystem::exists(path)) {
        return;
    }
    dedupe::encoder encoder({.level = level,
                             .index_bytes = known.empty() ? 0 : std::size_t{limits::MiB},
                             .volume_blocks = wide_volumes(),
                             .verify = true});
    encoder.learn(known);
    const auto payloads =
        encoder.encode(changes.list(), [](volume_index v, block_index b, bytes_span out) {
            std::ranges::copy(base_page(v.value, b.value), out.begin());
            return true;
        });
    REQUIRE(payloads.size() == 1);
    const auto decoded = dedupe::decoder().decode(payloads[0].bytes.view(), wide_volumes(),
                                                  golden_base(), no_base());
    REQUIRE(decoded);
    const std::string_view bytes = as_text(payloads[0].bytes.view());
    std::ofstream(path, std::ios::binary) << bytes;
    auto expected = path;
    std::ofstream(expected.replace_extension(".expected")) << describe(*decoded);
}

} // namespace

TEST_SUITE("dedupe") {
    TEST_CASE("golden: write" * doctest::skip(std::getenv("FARSHORE_WRITE_GOLDEN") == nullptr)) {
        write_golden("v4-mixed.payload", mixed_changes(), 1);
        write_golden("v4-raw.payload", raw_changes(), 1);
        write_golden("v4-deltas.payload", delta_changes(), 7);
        std::vector<dedupe::known_place> known;
        for (std::uint64_t b = 0; b < 4; ++b) {
            dedupe::note_known({}, block_index{b}, base_page(0, b), known);
        }
        write_golden("v4-copies.payload", copied_changes(), 1, known);
        write_golden("v4-differences.payload", renumbered_changes(), 1, known);
        write_golden("v4-dense.payload", delta_changes(), dedupe::encoder_options::dense);
    }

    TEST_CASE("golden: every payload of a released version decodes to what it stood for") {
        std::size_t seen = 0;
        for (const auto &entry : std::filesystem::directory_iterator(golden_folder())) {
            if (entry.path().extension() == ".payload") {
                check_golden(entry.path());
                ++seen;
            }
        }
        CHECK(seen >= 6);
    }
}
