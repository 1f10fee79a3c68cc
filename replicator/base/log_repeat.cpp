#include "replicator/base/log_repeat.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore::log {
namespace {

constexpr std::string_view all_others = "all others";

std::string in_words(duration d) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(d).count();
    if (seconds < 120) {
        return fmt::format("{} s", seconds);
    }
    if (seconds < 7200) {
        return fmt::format("{} min", seconds / 60);
    }
    return fmt::format("{} h", seconds / 3600);
}

} // namespace

repeats::series &repeats::find_or_add(std::string_view kind, time_point now, bool &is_new) {
    auto at = std::ranges::find(series_, kind, &series::kind);
    if (at == series_.end() && series_.size() >= kinds_max) {
        std::erase_if(series_, [now](const series &s) {
            return now - s.hour_began >= again_after && s.left_out == 0;
        });
        if (series_.size() >= kinds_max) {
            kind = all_others;
            at = std::ranges::find(series_, kind, &series::kind);
        } else {
            at = series_.end();
        }
    }
    is_new = at == series_.end();
    if (!is_new) {
        return *at;
    }
    series s;
    s.kind = kind;
    series_.push_back(std::move(s));
    return series_.back();
}

std::optional<std::string> repeats::failed(std::string_view kind, time_point now) {
    bool is_new = false;
    series &s = find_or_add(kind, now, is_new);
    const bool begins = is_new || s.ended;
    if (begins) {
        s.began = now;
        s.times = 0;
        s.ended = false;
        s.quiet = false;
    }
    ++s.times;
    if (is_new || now - s.hour_began >= again_after) {
        std::string more;
        if (s.left_out > 0) {
            more = fmt::format(" (and {} times more in the last {})", s.left_out,
                               in_words(now - s.hour_began));
        }
        s.hour_began = now;
        s.left_out = 0;
        s.episodes = 1;
        s.quiet = false;
        return more;
    }
    if (begins && s.episodes < episodes_max) {
        ++s.episodes;
        return s.episodes < episodes_max
                   ? ""
                   : " (again and again; from here on counted, and told once an hour)";
    }
    s.quiet = s.quiet || begins;
    ++s.left_out;
    return std::nullopt;
}

std::optional<std::string> repeats::worked(time_point now) {
    std::uint64_t times = 0;
    std::optional<time_point> began;
    for (series &s : series_) {
        if (!s.ended) {
            s.ended = true;
            if (!s.quiet) {
                times += s.times;
                began = began ? std::min(*began, s.began) : s.began;
            }
        }
    }
    if (!began) {
        return std::nullopt;
    }
    return fmt::format(" after {} failure{} in {}", times, times == 1 ? "" : "s",
                       in_words(now - *began));
}

} // namespace farshore::log
