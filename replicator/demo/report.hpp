#pragma once
// What the demo says: events as they happen, a progress line on a terminal, and the summary; JSON
// lines with --json.

#include "replicator/cli/progress.hpp"
#include "replicator/cli/terminal.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace farshore::demo {

struct summary {
    std::string storage;
    double seconds = 0;
    std::uint64_t bytes_written = 0; ///< by the demo's writers
    std::uint64_t records = 0;
    std::uint64_t bytes_wire = 0; ///< through the relay, both ways
    double lag_seconds_max = 0;
    double recovery_seconds_max =
        0; ///< from the end of a fault until the DR site was current again
    unsigned line_cuts = 0;
    unsigned kills = 0;
    unsigned recoveries = 0;
    unsigned comparisons = 0;
    unsigned comparisons_equal = 0;
    std::string failure; ///< what ended the demo early or came out unequal

    bool equal() const {
        return failure.empty() && comparisons > 0 && comparisons == comparisons_equal;
    }
};

nlohmann::json to_json(const summary &s);
std::string to_text(const summary &s);

class report {
  public:
    report(const terminal &term, bool as_json);
    /// Something happened: a line with the time since the start; as JSON, `kind` is the stable
    /// word.
    void event(const char *kind, const std::string &what,
               const nlohmann::json &details = nlohmann::json::object());
    /// How things stand: the line is rewritten on a terminal, else one line every few seconds.
    void standing(const std::string &text, const nlohmann::json &details);
    void finish(const summary &s);
    double seconds() const;

  private:
    const terminal &term_;
    bool as_json_;
    progress_line line_;
    std::chrono::steady_clock::time_point began_;
    double last_standing_ = -1e9;
};

} // namespace farshore::demo
