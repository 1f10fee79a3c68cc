#include "dedupe/anchors.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace farshore::dedupe {

namespace {

constexpr unsigned hash_bits = 64;
/// 2^64 divided by the golden ratio, odd.
constexpr std::uint64_t multiplier = 0x9E3779B97F4A7C15ULL;

std::uint64_t window_at(const std::byte *at) {
    std::uint64_t window = 0;
    std::memcpy(&window, at, sizeof window);
    return window;
}

std::uint64_t mixed(std::uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93ULL;
    return hash ^ (hash >> 29);
}

/// A run of one value would be an anchor at each of its bytes or at none.
bool one_value(std::uint64_t window) { return window == std::rotl(window, 8); }

} // namespace

void find_anchors(bytes_view bytes, std::uint32_t offset, unsigned bits, std::vector<anchor> &out) {
    static_assert(sizeof(std::uint64_t) == anchor_window);
    for (std::size_t i = 0; i + anchor_window <= bytes.size(); ++i) {
        const std::uint64_t window = window_at(bytes.data() + i);
        const std::uint64_t hash = window * multiplier;
        if (hash >> (hash_bits - bits) == 0 && !one_value(window)) {
            out.push_back({offset + static_cast<std::uint32_t>(i), mixed(hash)});
        }
    }
}

// 256 bytes of random data have about 162 different values, 5 more or less; texts, tables and
// machine code stay below 130.
bool looks_random(bytes_view block) {
    constexpr std::size_t samples = 256;
    constexpr int different_min = 144;
    std::array<std::uint64_t, 4> seen{};
    const std::size_t step = block.size() / samples;
    for (std::size_t i = 0; i < samples; ++i) {
        // A little off the grid: what repeats every 16 bytes must not decide.
        const auto value = std::to_integer<unsigned>(block[i * step + i % step]);
        seen[value >> 6] |= 1ULL << (value & 63);
    }
    int different = 0;
    for (const std::uint64_t word : seen) {
        different += std::popcount(word);
    }
    return different >= different_min;
}

} // namespace farshore::dedupe
