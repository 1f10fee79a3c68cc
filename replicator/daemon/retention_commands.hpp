#pragma once
// The receiver's commands about which points are kept: pin, unpin, forget, and what other settings
// would do (`points --plan`). Used by receiver_commands (daemon_commands.hpp).
//
// Threads: home executor.

#include "replicator/base/limits.hpp"
#include "replicator/config/units.hpp"
#include "replicator/daemon/arguments.hpp"
#include "replicator/daemon/shielded.hpp"
#include "replicator/daemon/status_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace farshore {

/// "all 1h, 1m 24h": rules as in the configuration, apart by commas. errc::invalid: which is wrong.
inline result<std::vector<retain_rule>> parse_retain_list(const std::string &text) {
    std::vector<retain_rule> rules;
    std::size_t at = 0;
    while (at <= text.size()) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        const std::size_t first = std::min(text.find_first_not_of(' ', at), comma);
        const std::string one = text.substr(first, comma - first);
        if (one.empty() || rules.size() == limits::retain_rules_max) {
            return fail(errc::invalid,
                        one.empty() ? "an empty rule; rules are like \"all 1h,1m 24h\""
                                    : fmt::format("more than {} rules", limits::retain_rules_max));
        }
        FS_TRY(rule, parse_retain(one));
        rules.push_back({rule.spacing, rule.age, one});
        at = comma + 1;
    }
    return rules;
}

template <class Engine>
class retention_commands {
  public:
    retention_commands(Engine &engine, task_group &owner) : engine_(engine), owner_(owner) {}

    static bool knows(const std::string &command) {
        return command == "pin" || command == "unpin" || command == "forget" || command == "plan";
    }

    task<control::outcome> run(std::string command, arguments &args,
                               control::progress_sink progress) {
        const std::string group = args.text("group");
        if (command == "plan") {
            co_return co_await plan(group, args);
        }
        const std::string point = args.text("point");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        const auto report = [progress = std::move(progress)](std::uint64_t done,
                                                             std::uint64_t total) {
            progress({{"done_bytes", done}, {"total_bytes", total}});
        };
        if (auto reached = co_await engine_.reach(group, point, report); !reached) {
            co_return std::unexpected(failure_of(reached.error()));
        }
        auto changed = command == "forget"
                           ? co_await shielded(owner_, engine_.forget(group, point))
                           : co_await shielded(owner_, engine_.pin(group, point, command == "pin"));
        if (!changed) {
            co_return std::unexpected(failure_of(changed.error()));
        }
        const char *done = command == "pin"     ? "pinned"
                           : command == "unpin" ? "unpinned"
                                                : "forgotten";
        co_return control::json{{"group", group},
                                {"point", changed->id},
                                {"time", to_rfc3339(changed->time)},
                                {"done", done}};
    }

  private:
    task<control::outcome> plan(const std::string &group, arguments &args) {
        const std::string rules = args.text_or("retain", "");
        retention_trial trial;
        trial.journal_bytes = args.number("journal_bytes");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (!rules.empty()) {
            auto parsed = parse_retain_list(rules);
            if (!parsed) {
                co_return std::unexpected(usage_failure("--retain: " + parsed.error().context));
            }
            trial.retain = std::move(*parsed);
        }
        const auto outlook = co_await shielded(owner_, engine_.plan(group, std::move(trial)));
        if (!outlook) {
            co_return std::unexpected(failure_of(outlook.error()));
        }
        co_return to_json(*outlook);
    }

    Engine &engine_;
    task_group &owner_;
};

} // namespace farshore
