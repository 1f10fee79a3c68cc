#include "replicator/config/schedule_keys.hpp"

#include "replicator/base/start_step.hpp"
#include "replicator/config/units.hpp"

#include <fmt/format.h>

namespace farshore {

std::optional<schedule> schedule_of(table_reader &r, duration every_min) {
    const auto every = r.text("every", false);
    const auto at = r.text("at", false);
    if (every.has_value() == at.has_value()) {
        const char *what = "when is one of every = \"1d\" and at = \"02:30\"";
        if (every) {
            r.note_at("at", what);
        } else {
            r.note_here(what);
        }
        return std::nullopt;
    }
    schedule s;
    if (at) {
        const auto time = parse_time_of_day(*at);
        if (!time) {
            r.note_at("at", "at: " + time.error().context);
            return std::nullopt;
        }
        s.at = *time;
        return s;
    }
    const auto time = parse_duration(*every);
    if (!time || *time < every_min) {
        r.note_at("every", fmt::format("every: how often, such as \"1d\", at least \"{}s\"",
                                       static_cast<long>(seconds_of(every_min))));
        return std::nullopt;
    }
    s.every = *time;
    return s;
}

std::vector<std::string> program_of(table_reader &r, const char *key, bool required,
                                    config_problems &problems) {
    const auto words = r.texts(key);
    if (!words) {
        if (required) {
            r.note_at(key,
                      fmt::format("\"{0}\" is missing: {0} = [\"/path/of/program\", ...]", key));
        }
        return {};
    }
    if (words->empty() || words->size() > limits::script_words_max) {
        r.note_at(key, fmt::format("{} is a program and its arguments, at most {} words", key,
                                   limits::script_words_max));
        return {};
    }
    if (!words->front().text.starts_with('/')) {
        note(problems, words->front().where,
             fmt::format("{}: \"{}\" is no absolute path; the daemon has no directory of yours",
                         key, words->front().text));
        return {};
    }
    std::vector<std::string> out;
    for (const auto &w : *words) {
        out.push_back(w.text);
    }
    return out;
}

duration time_limit_of(table_reader &r, duration otherwise) {
    const auto given = r.parsed<duration>("timeout", false, parse_duration);
    if (given && (*given < std::chrono::seconds(1) || *given > limits::script_time_max)) {
        r.note_at("timeout", "timeout is 1s to 7d");
    }
    return given.value_or(otherwise);
}

} // namespace farshore
