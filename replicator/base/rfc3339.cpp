#include "replicator/base/rfc3339.hpp"

namespace farshore {
namespace {

/// Takes characters from the front; false as soon as something is not as it must be.
class time_reader {
  public:
    explicit time_reader(std::string_view text) : rest_(text) {}
    bool literal(std::string_view any_of) {
        if (rest_.empty() || any_of.find(rest_.front()) == std::string_view::npos) {
            return false;
        }
        last_ = rest_.front();
        rest_.remove_prefix(1);
        return true;
    }
    char last() const { return last_; }
    bool number(std::size_t digits, int least, int most, int &out) {
        int value = 0;
        for (std::size_t i = 0; i < digits; ++i) {
            if (!literal("0123456789")) {
                return false;
            }
            value = value * 10 + (last_ - '0');
        }
        out = value;
        return value >= least && value <= most;
    }
    /// After the point.
    bool fraction(duration &out) {
        duration unit = std::chrono::seconds(1);
        std::size_t digits = 0;
        while (digits < 9 && literal("0123456789")) {
            unit /= 10;
            out += unit * (last_ - '0');
            ++digits;
        }
        return digits > 0;
    }
    bool at_end() const { return rest_.empty(); }
    bool next_is(char c) const { return !rest_.empty() && rest_.front() == c; }

  private:
    std::string_view rest_;
    char last_ = 0;
};

} // namespace

std::optional<wall_time> parse_rfc3339(std::string_view text) {
    constexpr int year_first = 1970;
    constexpr int year_last = 2199;
    time_reader in(text);
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, zone_hour = 0,
        zone_minute = 0;
    duration fraction{};
    const bool stamp = in.number(4, year_first, year_last, year) && in.literal("-") &&
                       in.number(2, 1, 12, month) && in.literal("-") && in.number(2, 1, 31, day) &&
                       in.literal("Tt") && in.number(2, 0, 23, hour) && in.literal(":") &&
                       in.number(2, 0, 59, minute) && in.literal(":") &&
                       in.number(2, 0, 60, second) &&
                       (!in.next_is('.') || (in.literal(".") && in.fraction(fraction)));
    if (!stamp || !in.literal("Zz+-")) {
        return std::nullopt;
    }
    const char sign = in.last();
    if ((sign == '+' || sign == '-') && (!in.number(2, 0, 23, zone_hour) || !in.literal(":") ||
                                         !in.number(2, 0, 59, zone_minute))) {
        return std::nullopt;
    }
    const std::chrono::year_month_day date{std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!in.at_end() || !date.ok()) {
        return std::nullopt;
    }
    const auto offset = std::chrono::hours(zone_hour) + std::chrono::minutes(zone_minute);
    const auto whole = wall_time(std::chrono::sys_days(date)) + std::chrono::hours(hour) +
                       std::chrono::minutes(minute) - (sign == '-' ? -offset : offset);
    const bool leap = second == 60; // at the end of a UTC day only
    if (leap && (whole + std::chrono::minutes(1)).time_since_epoch() % std::chrono::days(1) !=
                    duration::zero()) {
        return std::nullopt;
    }
    const wall_time t = whole + std::chrono::seconds(second) + (leap ? duration::zero() : fraction);
    return t < wall_time{} || t >= wall_time_max ? std::nullopt : std::optional(t);
}

} // namespace farshore
