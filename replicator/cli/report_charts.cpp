#include "replicator/cli/report_charts.hpp"

#include "replicator/base/rfc3339.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/cli/report_page.hpp"
#include "replicator/config/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

namespace farshore {
namespace {

// In SVG's own units.
constexpr double width = 900, height = 220, left = 60, right = 15, top = 12, bottom = 28;
constexpr std::size_t bars_max = 600; ///< more hours than that are drawn by their worst

/// Seconds that the scale names.
constexpr std::array ticks{0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 86400.0, 864000.0};

std::optional<double> seconds_at(const json &document, const char *pointer) {
    const auto t = parse_rfc3339(text_field(document, pointer));
    return t ? std::optional(seconds_of(t->time_since_epoch())) : std::nullopt;
}

struct bar {
    double from = 0, to = 0; ///< seconds since 1970
    double value = 0;        ///< seconds; 0: none
    bool marked = false;
    std::string words;
};

/// Maps time and seconds to the drawing.
class axes {
  public:
    axes(double from, double to, const std::vector<bar> &bars) : from_(from), to_(to) {
        double least = 1, most = 1;
        for (const bar &b : bars) {
            if (b.value > 0) {
                least = std::min(least, b.value);
                most = std::max(most, b.value);
            }
        }
        low_ = std::log10(std::max(least, 0.01) / 2);
        high_ = std::log10(most * 2);
    }
    double x(double t) const {
        return left + (t - from_) / std::max(1.0, to_ - from_) * (width - left - right);
    }
    double y(double seconds) const {
        const double share = (std::log10(std::max(seconds, 0.005)) - low_) / (high_ - low_);
        return height - bottom - std::clamp(share, 0.0, 1.0) * (height - top - bottom);
    }
    bool shows(double seconds) const {
        return std::log10(seconds) >= low_ && std::log10(seconds) <= high_;
    }

  private:
    double from_, to_, low_, high_;
};

std::string day_text(double seconds) {
    return to_rfc3339(wall_time(std::chrono::seconds(static_cast<std::int64_t>(seconds))))
        .substr(0, 16);
}

std::string frame(const axes &a, double from, double to) {
    std::string out;
    for (const double t : ticks) {
        if (a.shows(t)) {
            out += fmt::format("<line class=grid x1={0} x2={1} y1={2:.1f} y2={2:.1f} />"
                               "<text x={3} y={4:.1f} text-anchor=end>{5}</text>",
                               left, width - right, a.y(t), left - 6, a.y(t) + 4,
                               escaped(format_seconds(t)));
        }
    }
    out += fmt::format("<text x={0} y={2}>{3}</text><text x={1} y={2} text-anchor=end>{4}</text>",
                       left, width - right, height - 8, escaped(day_text(from)),
                       escaped(day_text(to)));
    return out;
}

std::string drawn(const char *title, double from, double to, const std::vector<bar> &bars,
                  double least_width) {
    const axes a(from, to, bars);
    std::string out = fmt::format("<svg viewBox=\"0 0 {} {}\" role=img aria-label=\"{}\">", width,
                                  height, escaped(title));
    out += frame(a, from, to);
    for (const bar &b : bars) {
        const double floor = height - bottom;
        const double at = b.value > 0 ? a.y(b.value) : top;
        const double wide = std::max(least_width, a.x(b.to) - a.x(b.from) - 0.5);
        out += fmt::format("<rect class={} x={:.1f} y={:.1f} width={:.1f} height={:.1f}>"
                           "<title>{}</title></rect>",
                           b.marked ? "bad" : "good", a.x(b.from), at, wide,
                           std::max(1.0, floor - at), escaped(b.words));
    }
    return out + "</svg>";
}

/// Neighbours as one, by the worst of them, until few enough are left.
std::vector<bar> thinned(std::vector<bar> bars) {
    const std::size_t each = (bars.size() + bars_max - 1) / bars_max;
    if (each <= 1) {
        return bars;
    }
    std::vector<bar> out;
    for (auto begin = bars.begin(); begin != bars.end();) {
        auto end = begin + 1; // not over a gap
        while (end != bars.end() && static_cast<std::size_t>(end - begin) < each &&
               end->from <= std::prev(end)->to) {
            ++end;
        }
        bar worst = *std::max_element(begin, end,
                                      [](const bar &a, const bar &b) { return a.value < b.value; });
        worst.from = begin->from;
        worst.to = std::prev(end)->to;
        worst.marked = std::any_of(begin, end, [](const bar &b) { return b.marked; });
        out.push_back(std::move(worst));
        begin = end;
    }
    return out;
}

} // namespace

std::string exposure_chart(const json &group) {
    std::vector<bar> bars;
    for (const json &h : list_field(group, "/rpo/hours")) {
        const auto at = seconds_at(h, "/time");
        if (!at) {
            continue;
        }
        bar b{*at, *at + 3600, number_field(h, "/worst_seconds"), false, {}};
        b.marked = number_field(h, "/without_point_seconds") > 0 || b.value == 0;
        b.words = fmt::format("{}: {}", day_text(*at),
                              b.value > 0 ? "at worst " + format_seconds(b.value)
                                          : std::string("no point"));
        bars.push_back(std::move(b));
    }
    if (bars.empty()) {
        return "";
    }
    const double from = seconds_at(group, "/since").value_or(bars.front().from);
    const double to = seconds_at(group, "/until").value_or(bars.back().to);
    for (bar &b : bars) { // the hour under way, and one that began before
        b.from = std::clamp(b.from, std::min(from, to), std::max(from, to));
        b.to = std::clamp(b.to, b.from, std::max(from, to));
    }
    return drawn("The worst age of the newest good point, hour by hour", from, to,
                 thinned(std::move(bars)), 1.5);
}

std::string result_word(const json &rehearsal) {
    const std::string result = text_field(rehearsal, "/result");
    return result == "passed" ? "passed" : result == "not_run" ? "NOT RUN" : "FAILED";
}

std::string rehearsal_chart(const json &group) {
    std::vector<bar> bars;
    for (const json &r : list_field(group, "/rehearsals")) {
        const auto at = seconds_at(r, "/time");
        if (at) {
            const double took = std::max(0.01, number_field(r, "/seconds"));
            bars.push_back(
                {*at, *at, took, !flag_field(r, "/passed"),
                 fmt::format("{} {}: {}{}", day_text(*at), text_field(r, "/test"), result_word(r),
                             text_field(r, "/point").empty() ? ""
                                                             : " after " + format_seconds(took))});
        }
    }
    if (bars.empty()) {
        return "";
    }
    return drawn("How long each rehearsal took", seconds_at(group, "/since").value_or(0),
                 seconds_at(group, "/until").value_or(0), bars, 6);
}

} // namespace farshore
