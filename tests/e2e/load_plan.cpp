#include "tests/e2e/load_plan.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <cstring>

namespace farshore::load {
namespace {

constexpr std::uint64_t magic = 0x64616f6c65726866; // "fhreload"

/// splitmix64 (Steele, Lea, Flood 2014): small, and good enough for positions and noise.
struct random_words {
    std::uint64_t state;
    std::uint64_t next() {
        state += 0x9e3779b97f4a7c15;
        std::uint64_t z = state;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
};

constexpr std::size_t words = sector_bytes / 8;
using sector_words = std::array<std::uint64_t, words>;
constexpr std::size_t check_word = 5; ///< after the label

std::uint64_t check_of(const sector_words &w) {
    std::uint64_t sum = magic;
    for (std::size_t i = 0; i < words; ++i) {
        if (i != check_word) {
            sum = (sum ^ w[i]) * 0x100000001b3 + (sum >> 29);
        }
    }
    return sum;
}

} // namespace

sector_range area_of(const plan_options &plan, std::uint32_t chain, std::uint32_t volume) {
    const auto sectors = plan.volume_sectors[volume];
    return {sectors * chain / plan.chains, sectors * (chain + 1) / plan.chains};
}

planned_write write_of(const plan_options &plan, std::uint32_t chain, std::uint64_t n) {
    const auto volumes = plan.volume_sectors.size();
    random_words random{plan.seed * 0x2545f4914f6cdd1d + (std::uint64_t{chain} << 48) + n};
    planned_write w;
    w.volume = static_cast<std::uint32_t>(n % volumes);
    const auto area = area_of(plan, chain, w.volume);
    auto span = area.last - area.first;
    REPL_ASSERT(span >= 2 * write_sectors_max);
    if (random.next() % 2 == 0) {
        span = std::max(span / 16, 2 * write_sectors_max);
    }
    const bool aligned = random.next() % 2 == 0;
    w.sectors = aligned ? std::uint64_t{8} << random.next() % 4 : 1 + random.next() % 40;
    w.sector = area.first + random.next() % (span - w.sectors + 1);
    if (aligned && w.sector / 8 * 8 >= area.first) {
        w.sector = w.sector / 8 * 8;
    }
    w.zeroes = random.next() % 32 == 0;
    return w;
}

sector content_of(const sector_label &label) {
    sector_words w{};
    w[0] = magic;
    w[1] = label.seed;
    w[2] = label.volume | std::uint64_t{label.chain} << 32;
    w[3] = label.sector;
    w[4] = label.n;
    random_words random{label.seed ^ label.n << 20 ^ label.sector << 1 ^ w[2]};
    for (std::size_t i = check_word + 1; i < words; ++i) {
        w[i] = i < 35 ? random.next() : label.n;
    }
    w[check_word] = check_of(w);
    sector bytes;
    std::memcpy(bytes.data(), w.data(), sector_bytes);
    return bytes;
}

std::optional<sector_label> label_of(bytes_view bytes) {
    sector_words w;
    REPL_ASSERT(bytes.size() == sector_bytes);
    std::memcpy(w.data(), bytes.data(), sector_bytes);
    if (w[0] != magic || w[check_word] != check_of(w)) {
        return std::nullopt;
    }
    return sector_label{w[1], static_cast<std::uint32_t>(w[2]),
                        static_cast<std::uint32_t>(w[2] >> 32), w[3], w[4]};
}

} // namespace farshore::load
