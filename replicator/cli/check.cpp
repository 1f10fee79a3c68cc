// Critical: what protects the data does not do so now (lag or point too old, failed, not
// paired). Warning: it does, but somebody should look (link down, order lost for a while, paused,
// a first copy not complete). The worst group decides.

#include "replicator/cli/check.hpp"

#include "replicator/base/rfc3339.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/config/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace farshore {
namespace {

struct finding {
    check_level level = check_level::ok;
    std::string text;
};

const char *word_of(check_level level) {
    switch (level) {
    case check_level::ok:
        return "OK";
    case check_level::warning:
        return "WARNING";
    case check_level::critical:
        return "CRITICAL";
    case check_level::unknown:
        return "UNKNOWN";
    }
    return "UNKNOWN";
}

check_level level_of_state(const std::string &state) {
    for (const char *fine : {"streaming", "following"}) {
        if (state == fine) {
            return check_level::ok;
        }
    }
    for (const char *bad : {"failed", "unpaired", "fenced", "handing_over"}) {
        if (state == bad) {
            return check_level::critical;
        }
    }
    for (const char *passing : {"initial_sync", "spooling", "tracking", "catching_up", "paused",
                                "empty", "receiving_sync", "replaying", "promoted"}) {
        if (state == passing) {
            return check_level::warning;
        }
    }
    return check_level::unknown;
}

/// unknown is the highest number but not the worst news.
check_level worse(check_level a, check_level b) {
    const auto rank = [](check_level l) {
        switch (l) {
        case check_level::ok:
            return 0;
        case check_level::warning:
            return 1;
        case check_level::unknown:
            return 2;
        case check_level::critical:
            return 3;
        }
        return 2;
    };
    return rank(a) >= rank(b) ? a : b;
}

finding judge_sender(const json &g, const check_limits &limits, std::string &perfdata) {
    const std::string name = text_field(g, "/name", "?");
    const double lag = number_field(g, "/lag/seconds");
    const double limit = seconds_of(limits.lag_max);
    const std::string state = text_field(g, "/state", "unknown");
    finding f{level_of_state(state),
              fmt::format("{} {}, lag {}", name, state, format_seconds(lag))};
    if (lag > limit) {
        f.level = worse(f.level, check_level::critical);
        f.text += fmt::format(" (more than {})", format_seconds(limit));
    }
    if (!flag_field(g, "/connected") && state != "unpaired") {
        f.level = worse(f.level, check_level::warning);
        f.text += ", link down";
    }
    perfdata +=
        fmt::format(" '{0}_lag'={1:.3f}s;;{2:.0f};0 '{0}_behind'={3}B;;;0 '{0}_spool'={4}B;;{5};0",
                    name, lag, limit, count_field(g, "/lag/bytes"),
                    count_field(g, "/spool/used_bytes"), count_field(g, "/spool/limit_bytes"));
    return f;
}

/// Rehearsals: that the last one failed is worth a look, that none passed for too long is more.
void judge_tests(finding &f, const json &g, const check_limits &limits, wall_time now,
                 std::string &perfdata) {
    const json *last = field(g, "/last_test");
    const bool none = last == nullptr || !last->is_object();
    if (!none && !flag_field(*last, "/passed")) {
        f.level = worse(f.level, check_level::warning);
        f.text += ", the last rehearsal failed";
    }
    const double passed = seconds_of_rfc3339(text_field(g, "/last_test/last_passed"));
    if (passed < 0) {
        if (limits.test_age_max) {
            f.level = worse(f.level, check_level::critical);
            f.text += none ? ", no rehearsal yet" : ", no rehearsal passed yet";
        }
        return;
    }
    const double age = std::max(0.0, seconds_of(now.time_since_epoch()) - passed);
    f.text += fmt::format(", rehearsal passed {} ago", format_seconds(age));
    const std::string name = text_field(g, "/name", "?");
    if (!limits.test_age_max) {
        perfdata += fmt::format(" '{}_test_age'={:.0f}s;;;0", name, age);
        return;
    }
    const double limit = seconds_of(*limits.test_age_max);
    if (age > limit) {
        f.level = worse(f.level, check_level::critical);
        f.text += fmt::format(" (more than {})", format_seconds(limit));
    }
    perfdata += fmt::format(" '{}_test_age'={:.0f}s;;{:.0f};0", name, age, limit);
}

/// A promoted group: its volumes are served from here, and no newer point is due.
void judge_serving(finding &f, const json &g, const check_limits &limits) {
    if (flag_field(g, "/serving/fenced")) {
        f.level = check_level::critical;
        f.text += ", fenced: the other site serves a newer generation, clients here get errors";
        return;
    }
    if (const std::string why = text_field(g, "/serving/error"); !why.empty()) {
        f.level = check_level::critical;
        f.text += ", its volumes are NOT served: " + why;
        return;
    }
    const std::string stream = text_field(g, "/serving/stream");
    if (stream != "streaming" && stream != "spooling") {
        f.text += ", its volumes are served here and replicated nowhere";
        return;
    }
    const double lag = number_field(g, "/serving/lag_seconds");
    f.level = lag > seconds_of(limits.lag_max) ? check_level::critical : check_level::ok;
    f.text += fmt::format(", served here and followed, {}, lag {}", stream, format_seconds(lag));
}

finding judge_receiver(const json &g, const check_limits &limits, wall_time now,
                       std::string &perfdata) {
    const std::string name = text_field(g, "/name", "?");
    const std::string state = text_field(g, "/state", "unknown");
    const double limit = seconds_of(limits.point_age_max);
    const double newest = seconds_of_rfc3339(text_field(g, "/newest_point/time"));
    finding f{level_of_state(state), fmt::format("{} {}", name, state)};
    if (state == "promoted") { // its volumes are served from here: no newer point is due
        judge_serving(f, g, limits);
    } else if (newest < 0) {
        f.level = worse(f.level, check_level::critical);
        f.text += ", no recovery point";
    } else {
        // The daemon knows more than the point's own time, which is of the primary's clock
        // (session/peer_clock.hpp).
        const double age = number_field(g, "/newest_point/age_seconds",
                                        std::max(0.0, seconds_of(now.time_since_epoch()) - newest));
        f.text += fmt::format(", newest point {} old", format_seconds(age));
        if (age > limit) {
            f.level = worse(f.level, check_level::critical);
            f.text += fmt::format(" (more than {})", format_seconds(limit));
        }
        perfdata += fmt::format(" '{}_point_age'={:.3f}s;;{:.0f};0", name, age, limit);
    }
    if (const std::uint64_t open = count_field(g, "/opened/count"); open > 0) {
        f.text += fmt::format(", {} open, the oldest for {}", open,
                              format_seconds(number_field(g, "/opened/oldest_seconds")));
    }
    if (const std::uint64_t suspect = count_field(g, "/suspect_points"); suspect > 0) {
        f.text += fmt::format(", {} suspect point(s)", suspect);
    }
    if (const std::uint64_t damaged = count_field(g, "/damaged_points"); damaged > 0) {
        f.level = worse(f.level, check_level::critical);
        f.text += fmt::format(", {} damaged point(s): a scrub found what they need unreadable or "
                              "changed; `farshore points` lists them",
                              damaged);
    }
    judge_tests(f, g, limits, now, perfdata);
    perfdata += fmt::format(" '{}_open'={};;;0", name, count_field(g, "/opened/count"));
    perfdata += fmt::format(" '{0}_points'={1};;;0 '{0}_journal'={2}B;;{3};0", name,
                            count_field(g, "/points"), count_field(g, "/journal/used_bytes"),
                            count_field(g, "/journal/limit_bytes"));
    return f;
}

check_verdict verdict(check_level level, const std::string &text, const std::string &perfdata) {
    check_verdict v;
    v.level = level;
    // One line, and no bar but the one before the performance data.
    std::string clean = text;
    std::ranges::replace(clean, '\n', ' ');
    std::ranges::replace(clean, '|', '/');
    v.line = fmt::format("FARSHORE {} - {}{}{}", word_of(level), clean,
                         perfdata.empty() ? "" : " |", perfdata);
    std::string word = word_of(level);
    std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
    v.document = {{"status", word}, {"code", static_cast<int>(level)}, {"text", clean}};
    return v;
}

} // namespace

double seconds_of_rfc3339(const std::string &text) {
    const auto time = parse_rfc3339(text);
    return time ? seconds_of(time->time_since_epoch()) : -1;
}

check_verdict judge(const json &status, const check_limits &limits, wall_time now) {
    check_level level = check_level::ok;
    std::string text;
    std::string perfdata;
    const bool receiver = text_field(status, "/role") == "receiver";
    for (const json &g : list_field(status, "/groups")) {
        finding f =
            receiver ? judge_receiver(g, limits, now, perfdata) : judge_sender(g, limits, perfdata);
        if (const std::string e = text_field(g, "/error"); !e.empty()) {
            f.level = worse(f.level, check_level::warning);
            f.text += ": " + e;
        }
        for (const json &w : list_field(g, "/warnings")) {
            f.level = worse(f.level, check_level::warning);
            f.text += ": " + (w.is_string() ? w.get<std::string>() : "?");
        }
        level = worse(level, f.level);
        text += (text.empty() ? "" : "; ") + f.text;
    }
    if (text.empty()) {
        return verdict(check_level::unknown, "the daemon has no group", "");
    }
    return verdict(level, text, perfdata);
}

check_verdict judged_unreachable(check_level level, const std::string &why) {
    return verdict(level, why, "");
}

} // namespace farshore
