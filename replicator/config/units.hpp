#pragma once
// Quantities as people write them: sizes, rates and times always carry a unit. Decimal fractions
// are allowed ("1.5GiB"); the arithmetic is exact and checked, a fraction of a byte is cut off.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace farshore {

/// Bytes from "20GiB": KiB MiB GiB TiB, kB MB GB TB. errc::invalid says what is wrong.
result<std::uint64_t> parse_size(std::string_view text);
/// Bytes per second from "40Mbit/s": bit/s kbit/s Mbit/s Gbit/s, KiB/s MiB/s GiB/s, kB/s MB/s GB/s.
/// Never 0.
result<std::uint64_t> parse_rate(std::string_view text);
/// parse_rate, or nothing for "unlimited" and "none".
result<std::optional<std::uint64_t>> parse_limit(std::string_view text);
/// Time from "1s": ms s m h d.
result<duration> parse_duration(std::string_view text);

struct retain_text {
    duration spacing{}; ///< zero: "all"
    duration age{};
};
/// "all 1h" keeps every point for 1 h; "1m 24h" keeps one a minute for 24 h.
result<retain_text> parse_retain(std::string_view text);

/// "1.5 GiB", "312 B".
std::string format_bytes(std::uint64_t bytes);
/// "40.0 Mbit/s".
std::string format_rate(double bytes_per_second);
/// "0.8 s", "2 m 05 s", "3 h 20 m", "2 d 4 h".
std::string format_seconds(double seconds);

} // namespace farshore
