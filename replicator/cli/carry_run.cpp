#include "replicator/cli/carry_run.hpp"

#include "replicator/carry/carry.hpp"
#include "replicator/carry/qemu_img.hpp"
#include "replicator/cli/cli_request.hpp"
#include "replicator/cli/interrupt.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/cli/progress.hpp"
#include "replicator/config/units.hpp"
#include "replicator/control/exit_code.hpp"
#include "replicator/control/json_guard.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr duration show_every = std::chrono::milliseconds(500);

/// Rate and time left, anew for each part of the work.
class carry_progress {
  public:
    carry_progress(const invocation &inv, const terminal &term) : inv_(inv), term_(term) {}

    void show(const std::string &what, std::uint64_t done, std::uint64_t total) {
        const time_point now = system_clock().now();
        if (what != what_) {
            what_ = what;
            began_ = now;
            began_at_ = done;
            shown_ = {};
        } else if (now - shown_ < show_every) {
            return;
        }
        shown_ = now;
        const double seconds = seconds_of(now - began_);
        const double rate = seconds > 0.5 ? static_cast<double>(done - began_at_) / seconds : 0;
        std::optional<double> left;
        if (rate > 0 && total > done) {
            left = static_cast<double>(total - done) / rate;
        }
        if (inv_.as_json) {
            write({{"what", what},
                   {"done_bytes", done},
                   {"total_bytes", total},
                   {"bytes_per_second", static_cast<std::uint64_t>(rate)},
                   {"eta_seconds", left ? json(*left) : json(nullptr)}});
        } else {
            line_.show(progress_text(what, done, total, rate, left));
        }
    }

  private:
    void write(json progress) const {
        const std::string line = control::to_line({{"progress", std::move(progress)}}) + "\n";
        (streams_to_output(inv_) ? term_.err : term_.out)(line);
    }

    const invocation &inv_;
    const terminal &term_;
    progress_line line_{term_};
    std::string what_;
    time_point began_{};
    time_point shown_{};
    std::uint64_t began_at_ = 0;
};

carry::point_choice point_of(const invocation &inv) {
    return {inv.group, inv.point, inv.applied, inv.open.suspect, {}};
}

control::outcome start(const invocation &inv, const carry::means &with) {
    const carry_words &c = inv.carry;
    if (inv.command == "import") {
        return carry::run_import({inv.group, c.from}, with);
    }
    if (inv.command == "restore") {
        return carry::run_restore(
            {point_of(inv), c.volume, c.to, c.confirm, c.sector_bytes, !c.no_compare}, with);
    }
    carry::export_request request;
    request.from = point_of(inv);
    request.from.since = c.since;
    request.backing = c.backing;
    request.volume = c.volume;
    request.to = c.to;
    request.format = carry::image_format_of(c.format).value_or(carry::image_format::raw);
    request.tar = c.tar;
    request.compare = !c.no_compare;
    request.force = c.force;
    return carry::run_export(request, with);
}

} // namespace

bool streams_to_output(const invocation &inv) {
    return inv.command == "export" && inv.carry.to == "-";
}

control::outcome run_carry(const invocation &inv, const terminal &term) {
    if (streams_to_output(inv) && term.out_is_tty) {
        return std::unexpected(usage_failure(
            "export: standard output is a terminal; send it to a pipe or file, or name one with "
            "--to"));
    }
    const auto limits = call_limits_of(inv);
    if (!limits) {
        return std::unexpected(limits.error());
    }
    std::optional<time_point> end;
    if (limits->total) {
        end = system_clock().now() + *limits->total;
    }
    const auto late = [end] { return end && system_clock().now() >= *end; };
    const interrupt_flag interrupted;
    carry_progress progress(inv, term);
    const carry::means with{inv.socket, *limits, [&] { return interrupt_flag::raised() || late(); },
                            [&](const std::string &what, std::uint64_t done, std::uint64_t total) {
                                progress.show(what, done, total);
                            },
                            [&](const std::string &text) { term.err(text + "\n"); }};
    auto done = start(inv, with);
    if (!done && done.error().code == "interrupted" && !interrupt_flag::raised()) {
        return std::unexpected(
            control::failure{"timed_out",
                             inv.command + ": it was not done within --timeout " + inv.timeout +
                                 "; what was begun is taken back, but for a target of `restore`",
                             value_of(exit_code::timed_out)});
    }
    return done;
}

std::string carry_text(const invocation &inv, const control::json &document) {
    if (inv.command == "import") {
        return fmt::format("{}: seeded from point {} of {}; it is compared with the primary at the "
                           "first contact\n",
                           inv.group, text_field(document, "/from/point"),
                           text_field(document, "/from/group"));
    }
    return fmt::format(
        "{} holds {} at point {}: {}, SHA-256 {}\n",
        inv.carry.to == "-" ? "the stream" : inv.carry.to,
        inv.group +
            (text_field(document, "/volume").empty() ? "" : "/" + text_field(document, "/volume")),
        text_field(document, "/point"), format_bytes(count_field(document, "/bytes")),
        text_field(document, "/sha256"));
}

} // namespace farshore
