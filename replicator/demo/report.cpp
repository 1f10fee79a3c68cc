#include "replicator/demo/report.hpp"

#include "replicator/cli/render.hpp"
#include "replicator/config/units.hpp"
#include "replicator/control/json_guard.hpp"

#include <fmt/format.h>

#include <cmath>

namespace farshore::demo {
namespace {

constexpr double plain_line_every = 5;

} // namespace

nlohmann::json to_json(const summary &s) {
    return {{"storage", s.storage},
            {"seconds", s.seconds},
            {"bytes_written", s.bytes_written},
            {"records", s.records},
            {"bytes_wire", s.bytes_wire},
            {"lag_seconds_max", s.lag_seconds_max},
            {"recovery_seconds_max", s.recovery_seconds_max},
            {"line_cuts", s.line_cuts},
            {"kills", s.kills},
            {"recoveries", s.recoveries},
            {"comparisons", s.comparisons},
            {"comparisons_equal", s.comparisons_equal},
            {"equal", s.equal()},
            {"error", s.failure.empty() ? nlohmann::json(nullptr) : nlohmann::json(s.failure)}};
}

std::string to_text(const summary &s) {
    std::string text = fmt::format(
        "\nStorage          {}\n"
        "Written          {} in {} dependent records and other data, {}\n"
        "On the wire      {} both ways, TLS and synchronisation included; saved {}\n"
        "Highest lag      {} (the cut and the kills included)\n"
        "Faults           {} line cut{}, {} kill -9; {} recovered, slowest in {}\n"
        "Compared         {} of {} comparisons equal\n",
        s.storage, format_bytes(s.bytes_written), s.records, format_seconds(s.seconds),
        format_bytes(s.bytes_wire), render_saved(s.bytes_written, s.bytes_wire),
        format_seconds(s.lag_seconds_max), s.line_cuts, s.line_cuts == 1 ? "" : "s", s.kills,
        s.recoveries, format_seconds(s.recovery_seconds_max), s.comparisons_equal, s.comparisons);
    text += s.equal()
                ? "Result           EQUAL: the DR site holds what was written, on both volumes\n"
                : "Result           FAILED: " +
                      (s.failure.empty() ? std::string("not everything was equal") : s.failure) +
                      "\n";
    return text;
}

report::report(const terminal &term, bool as_json)
    : term_(term), as_json_(as_json), line_(term), began_(std::chrono::steady_clock::now()) {}

double report::seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
}

void report::event(const char *kind, const std::string &what, const nlohmann::json &details) {
    if (as_json_) {
        nlohmann::json document{{"event", kind}, {"seconds", std::round(seconds() * 1000) / 1000}};
        document["message"] = what;
        if (!details.empty()) {
            document["details"] = details;
        }
        term_.out(control::to_line(document) + "\n");
        return;
    }
    line_.clear();
    term_.out(fmt::format("{:6.1f} s  {}\n", seconds(), what));
}

void report::standing(const std::string &text, const nlohmann::json &details) {
    if (term_.err_is_tty && !as_json_) {
        line_.show(fmt::format("{:6.1f} s  {}", seconds(), text));
        return;
    }
    if (seconds() - last_standing_ >= plain_line_every) {
        last_standing_ = seconds();
        event("standing", text, details);
    }
}

void report::finish(const summary &s) {
    line_.clear();
    term_.out(as_json_ ? control::to_line({{"summary", to_json(s)}}) + "\n" : to_text(s));
}

} // namespace farshore::demo
