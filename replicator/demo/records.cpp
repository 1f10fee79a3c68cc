#include "replicator/demo/records.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/hash.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace farshore::demo {
namespace {

constexpr std::array<char, 8> magic{'f', 's', 'd', 'e', 'm', 'o', '0', '1'};
constexpr std::size_t number_at = 8;
constexpr std::size_t volume_at = 16;
constexpr std::size_t text_at = 64;
constexpr std::size_t checksum_at = record_bytes - 8;

void put64(bytes_span out, std::size_t at, std::uint64_t value) {
    for (std::size_t i = 0; i < 8; ++i) {
        out[at + i] = static_cast<std::byte>(value >> (8 * i));
    }
}

std::uint64_t get64(bytes_view in, std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        value |= static_cast<std::uint64_t>(in[at + i]) << (8 * i);
    }
    return value;
}

} // namespace

void encode_record(std::uint64_t number, char volume, bytes_span out) {
    REPL_ASSERT(out.size() == record_bytes && number > 0);
    std::ranges::fill(out, std::byte{0});
    std::memcpy(out.data(), magic.data(), magic.size());
    put64(out, number_at, number);
    out[volume_at] = static_cast<std::byte>(volume);
    std::size_t at = text_at;
    while (at < checksum_at) {
        const std::string line =
            fmt::format("order {} item {} booked in ledger {}\n", number, at, volume);
        const std::size_t n = std::min(line.size(), checksum_at - at);
        std::memcpy(out.data() + at, line.data(), n);
        at += n;
    }
    put64(out, checksum_at, checksum64(out.first(checksum_at)));
}

std::optional<std::uint64_t> parse_record(char volume, bytes_view slot) {
    if (slot.size() != record_bytes || std::memcmp(slot.data(), magic.data(), magic.size()) != 0 ||
        slot[volume_at] != static_cast<std::byte>(volume) ||
        get64(slot, checksum_at) != checksum64(slot.first(checksum_at))) {
        return std::nullopt;
    }
    const std::uint64_t number = get64(slot, number_at);
    return number > 0 ? std::optional(number) : std::nullopt;
}

ring_content read_ring(char volume, bytes_view area) {
    REPL_ASSERT(area.size() == record_area_bytes);
    ring_content ring;
    std::array<std::uint64_t, record_slots> numbers{};
    std::optional<std::uint64_t> broken;
    for (std::uint64_t slot = 0; slot < record_slots; ++slot) {
        const bytes_view bytes = area.subspan(slot * record_bytes, record_bytes);
        if (is_zero(bytes)) {
            continue;
        }
        const auto number = parse_record(volume, bytes);
        if (!number || *number % record_slots != slot) {
            broken = slot;
            continue;
        }
        numbers[slot] = *number;
        ring.last = std::max(ring.last, *number);
    }
    if (broken) {
        ring.problem =
            fmt::format("volume {}: slot {} holds no whole record; the last whole one is "
                        "{}, in slot {}",
                        volume, *broken, ring.last, ring.last % record_slots);
    }
    // Whole order: each slot holds the newest number that belongs there up to the last one.
    for (std::uint64_t back = 0; back < std::min(ring.last, record_slots); ++back) {
        const std::uint64_t number = ring.last - back;
        if (numbers[number % record_slots] != number && ring.problem.empty()) {
            ring.problem =
                fmt::format("volume {}: record {} is missing before {}", volume, number, ring.last);
        }
    }
    return ring;
}

dependency_result check_dependency(const ring_content &a, const ring_content &b) {
    dependency_result r{false, a.last, b.last, ""};
    if (!a.problem.empty() || !b.problem.empty()) {
        r.text = a.problem.empty() ? b.problem : a.problem;
        return r;
    }
    r.holds = a.last == b.last || a.last == b.last + 1;
    r.text = fmt::format("last record on A {}, on B {}", a.last, b.last);
    return r;
}

} // namespace farshore::demo
