#include "replicator/cli/progress.hpp"

#include "replicator/config/units.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {

std::string progress_text(const std::string &what, std::uint64_t done, std::uint64_t total,
                          double bytes_per_second, std::optional<double> eta_seconds) {
    const std::uint64_t shown = std::min(done, total);
    const double percent =
        total == 0 ? 100.0 : 100.0 * static_cast<double>(shown) / static_cast<double>(total);
    std::string text = fmt::format("{}  {:.0f} %  {} of {}", what, percent, format_bytes(shown),
                                   format_bytes(total));
    if (bytes_per_second > 0) {
        text += "  " + format_rate(bytes_per_second);
    }
    if (eta_seconds) {
        text += "  ETA " + format_seconds(*eta_seconds);
    }
    return text;
}

void progress_line::show(const std::string &text) {
    if (term_.err_is_tty) {
        term_.err("\r" + text + "\x1b[K");
        shown_ = true;
    }
}

void progress_line::show_bytes(const std::string &what, std::uint64_t done, std::uint64_t total,
                               time_point now) {
    if (!began_ || done < began_at_) {
        began_ = now;
        began_at_ = done;
    }
    const double elapsed = seconds_of(now - *began_);
    const double rate = elapsed > 0.5 ? static_cast<double>(done - began_at_) / elapsed : 0;
    std::optional<double> eta;
    if (rate > 0 && total > done) {
        eta = static_cast<double>(total - done) / rate;
    }
    show(progress_text(what, done, total, rate, eta));
}

void progress_line::clear() {
    if (shown_) {
        term_.err("\r\x1b[K");
        shown_ = false;
    }
}

} // namespace farshore
