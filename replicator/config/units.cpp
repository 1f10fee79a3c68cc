#include "replicator/config/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <span>

namespace farshore {
namespace {

struct unit {
    std::string_view name;
    std::uint64_t numerator; ///< of the base unit (bytes, bytes per second, nanoseconds)
    std::uint64_t denominator = 1;
};

constexpr std::uint64_t kilo = 1000;
constexpr std::uint64_t kibi = 1024;

constexpr std::array size_units{
    unit{"KiB", kibi},
    unit{"MiB", kibi *kibi},
    unit{"GiB", kibi *kibi *kibi},
    unit{"TiB", kibi *kibi *kibi *kibi},
    unit{"kB", kilo},
    unit{"MB", kilo *kilo},
    unit{"GB", kilo *kilo *kilo},
    unit{"TB", kilo *kilo *kilo *kilo},
};
constexpr std::array rate_units{
    unit{"kbit/s", kilo, 8},
    unit{"Mbit/s", kilo *kilo, 8},
    unit{"Gbit/s", kilo *kilo *kilo, 8},
    unit{"bit/s", 1, 8},
    unit{"KiB/s", kibi},
    unit{"MiB/s", kibi *kibi},
    unit{"GiB/s", kibi *kibi *kibi},
    unit{"kB/s", kilo},
    unit{"MB/s", kilo *kilo},
    unit{"GB/s", kilo *kilo *kilo},
};
constexpr std::array time_units{
    unit{"ms", 1'000'000},        unit{"s", 1'000'000'000},      unit{"m", 60'000'000'000},
    unit{"h", 3'600'000'000'000}, unit{"d", 86'400'000'000'000},
};

std::string names_of(std::span<const unit> units) {
    std::string text;
    for (const unit &u : units) {
        text += (text.empty() ? "" : " ") + std::string(u.name);
    }
    return text;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
    return out;
}

struct decimal {
    std::uint64_t digits = 0; ///< without the point
    std::uint64_t scale = 1;  ///< the value is digits / scale
};

/// Takes a decimal number from the front of `text`; nothing when there is none or it is too long.
std::optional<decimal> take_decimal(std::string_view &text) {
    decimal d;
    std::size_t i = 0;
    std::size_t count = 0;
    bool fraction = false;
    for (; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '.' && !fraction && count > 0) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9') {
            break;
        }
        if (++count > 18) {
            return std::nullopt; // beyond what 64 bits hold
        }
        d.digits = d.digits * 10 + static_cast<std::uint64_t>(c - '0');
        d.scale *= fraction ? 10 : 1;
    }
    if (count == 0 || text[i - 1] == '.') {
        return std::nullopt;
    }
    text.remove_prefix(i);
    return d;
}

std::unexpected<error> bad(std::string_view text, std::string_view what, std::string_view why) {
    return fail(errc::invalid, fmt::format("\"{}\" is no {}: {}", text, what, why));
}

/// A unit written in the wrong case, or a rate's unit in a size.
std::string hint_for(std::string_view wrong, std::span<const unit> units) {
    for (const unit &u : units) {
        if (lower(u.name) == lower(wrong)) {
            return fmt::format("; did you mean {}?", u.name);
        }
    }
    return "";
}

result<std::uint64_t> parse_quantity(std::string_view text, std::string_view what,
                                     std::span<const unit> units) {
    std::string_view rest = text;
    const auto number = take_decimal(rest);
    if (!number) {
        return bad(text, what, "it starts with a number, such as 20");
    }
    while (!rest.empty() && rest.front() == ' ') {
        rest.remove_prefix(1);
    }
    if (rest.empty()) {
        return bad(text, what, "it needs a unit: " + names_of(units));
    }
    const auto u = std::ranges::find(units, rest, &unit::name);
    if (u == units.end()) {
        return bad(text, what,
                   fmt::format("the unit is one of {}{}", names_of(units), hint_for(rest, units)));
    }
    using wide = unsigned __int128;
    const wide value = static_cast<wide>(number->digits) * u->numerator /
                       (static_cast<wide>(number->scale) * u->denominator);
    if (value > static_cast<wide>(std::numeric_limits<std::int64_t>::max())) {
        return bad(text, what, "it is too large");
    }
    return static_cast<std::uint64_t>(value);
}

} // namespace

result<std::uint64_t> parse_size(std::string_view text) {
    return parse_quantity(text, "size", size_units);
}

result<std::uint64_t> parse_rate(std::string_view text) {
    FS_TRY(value, parse_quantity(text, "rate", rate_units));
    if (value == 0) {
        return bad(text, "rate", "it is below one byte per second");
    }
    return value;
}

result<std::optional<std::uint64_t>> parse_limit(std::string_view text) {
    if (text == "unlimited" || text == "none") {
        return std::optional<std::uint64_t>();
    }
    FS_TRY(value, parse_rate(text));
    return std::optional<std::uint64_t>(value);
}

result<duration> parse_duration(std::string_view text) {
    FS_TRY(value, parse_quantity(text, "time", time_units));
    return duration(static_cast<std::int64_t>(value));
}

result<retain_text> parse_retain(std::string_view text) {
    const auto space = text.find(' ');
    const auto last = text.find_first_not_of(' ', space);
    if (space == std::string_view::npos || last == std::string_view::npos) {
        return bad(text, "retention rule", "it is SPACING AGE, such as \"all 1h\" or \"1m 24h\"");
    }
    retain_text rule;
    if (const auto first = text.substr(0, space); first != "all") {
        FS_TRY(spacing, parse_duration(first));
        if (spacing == duration::zero()) {
            return bad(text, "retention rule",
                       "the spacing is not zero; \"all\" keeps every point");
        }
        rule.spacing = spacing;
    }
    FS_TRY(age, parse_duration(text.substr(last)));
    rule.age = age;
    if (rule.age <= rule.spacing) {
        return bad(text, "retention rule", "the age is longer than the spacing");
    }
    return rule;
}

std::string format_bytes(std::uint64_t bytes) {
    constexpr std::array names{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    auto value = static_cast<double>(bytes);
    std::size_t i = 0;
    while (value >= 1023.95 && i + 1 < names.size()) {
        value /= 1024;
        ++i;
    }
    return i == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, names[i]);
}

std::string format_rate(double bytes_per_second) {
    constexpr std::array names{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
    double value = bytes_per_second * 8;
    std::size_t i = 0;
    while (value >= 999.95 && i + 1 < names.size()) {
        value /= 1000;
        ++i;
    }
    return i == 0 ? fmt::format("{:.0f} {}", value, names[i])
                  : fmt::format("{:.1f} {}", value, names[i]);
}

std::string format_seconds(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0) {
        return "-";
    }
    if (seconds < 59.95) {
        return fmt::format("{:.1f} s", seconds);
    }
    const auto whole = static_cast<std::uint64_t>(std::min(seconds, 1e12) + 0.5);
    if (whole < 3600) {
        return fmt::format("{} m {:02} s", whole / 60, whole % 60);
    }
    if (whole < 86400) {
        return fmt::format("{} h {:02} m", whole / 3600, whole / 60 % 60);
    }
    return fmt::format("{} d {} h", whole / 86400, whole / 3600 % 24);
}

} // namespace farshore
