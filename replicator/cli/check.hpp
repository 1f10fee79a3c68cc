#pragma once
// `farshore check`: a status document judged by the rules of monitoring plugins. Pure.

#include "replicator/base/clock.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace farshore {

struct check_limits {
    duration lag_max = std::chrono::minutes(5);
    duration point_age_max = std::chrono::hours(1);
    std::optional<duration> test_age_max = {}; ///< nothing: rehearsals need not be
};

enum class check_level : int { ok = 0, warning = 1, critical = 2, unknown = 3 };

struct check_verdict {
    check_level level = check_level::unknown;
    std::string line; ///< text and performance data, without the newline
    nlohmann::json document;
};

/// `now` is what point ages are measured against.
check_verdict judge(const nlohmann::json &status, const check_limits &limits, wall_time now);
/// The verdict for a daemon that could not be asked.
check_verdict judged_unreachable(check_level level, const std::string &why);

/// Seconds since 1970 of "2026-01-01T00:00:00.000Z"; negative when the text is no such time.
double seconds_of_rfc3339(const std::string &text);

} // namespace farshore
