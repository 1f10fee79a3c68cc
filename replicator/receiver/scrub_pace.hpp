#pragma once
// When a scrub reads, and how fast: pure.

#include "replicator/base/clock.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/catalogue/catalogue.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace farshore {

/// Bytes a second that the disks give in the background: as much as the period asks for, between
/// these. A small copy is read through in less than its period, a huge one takes longer.
constexpr std::uint64_t scrub_rate_min = limits::MiB;
constexpr std::uint64_t scrub_rate_max = 64 * limits::MiB;
/// When an operator asked for it.
constexpr std::uint64_t scrub_rate_asked = 256 * limits::MiB;

/// Four fifths of the period are for reading: what holds it up meanwhile does not make it late.
constexpr std::uint64_t scrub_rate(std::uint64_t total_bytes, duration period) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(period).count();
    const std::uint64_t over = std::max<std::uint64_t>(static_cast<std::uint64_t>(seconds), 1);
    return std::clamp(total_bytes / over + total_bytes / over / 4, scrub_rate_min, scrub_rate_max);
}

/// How long until the next pass begins, or goes on where a restart left it; nothing: it is due. A
/// clock that was put back does not put it off for longer than a period.
constexpr std::optional<duration> scrub_due_in(const scrub_record &last, duration period,
                                               wall_time now) {
    const bool never = last.began == wall_time{};
    if (never || last.under_way || now < last.began || now - last.began >= period) {
        return std::nullopt;
    }
    return period - (now - last.began);
}

} // namespace farshore
