#include "dedupe/anchors.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace farshore::dedupe {

namespace {

constexpr unsigned hash_bits = 64;
constexpr unsigned shift = hash_bits / anchor_window;

/// Random numbers by xorshift64* (Vigna), fixed for ever: sender-side only, but runs are
/// repeatable.
constexpr std::array<std::uint64_t, 256> make_gear() {
    std::array<std::uint64_t, 256> gear{};
    std::uint64_t x = 88172645463325252ULL;
    for (std::uint64_t &g : gear) {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        g = x * 0x2545F4914F6CDD1DULL;
    }
    return gear;
}
constexpr std::array<std::uint64_t, 256> gear = make_gear();

std::uint64_t mixed(std::uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0x9E3779B97F4A7C15ULL;
    return hash ^ (hash >> 29);
}

/// A run of one value would be an anchor at each of its bytes or at none.
bool one_value(const unsigned char *window) {
    return std::memcmp(window, window + 1, anchor_window - 1) == 0;
}

} // namespace

void find_anchors(bytes_view bytes, std::uint32_t offset, std::vector<anchor> &out) {
    if (bytes.size() < anchor_window) {
        return;
    }
    std::uint64_t hash = 0;
    const auto *const data = reinterpret_cast<const unsigned char *>(bytes.data());
    for (std::size_t i = 0; i + 1 < anchor_window; ++i) {
        hash = (hash << shift) + gear[data[i]];
    }
    for (std::size_t i = anchor_window - 1; i < bytes.size(); ++i) {
        hash = (hash << shift) + gear[data[i]];
        if (hash >> (hash_bits - anchor_bits) == 0 && !one_value(data + i + 1 - anchor_window)) {
            out.push_back(
                {offset + static_cast<std::uint32_t>(i + 1 - anchor_window), mixed(hash)});
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
