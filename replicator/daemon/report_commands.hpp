#pragma once
// The receiver's command `report`. Used by receiver_commands (daemon_commands.hpp).
//
// Threads: home executor.

#include "replicator/daemon/arguments.hpp"
#include "replicator/daemon/report_json.hpp"
#include "replicator/daemon/shielded.hpp"
#include "replicator/daemon/status_json.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace farshore {

constexpr duration report_reaches_back = std::chrono::hours(24 * 30);      ///< if nothing is said
constexpr duration report_reaches_back_max = std::chrono::hours(24 * 400); ///< the record's length

/// Of one group, which must be there and be served; without a name of all, where one that is not
/// served has its `error` instead of figures.
template <class Engine>
task<control::outcome> run_report(Engine &engine, task_group &owner, arguments &args) {
    const std::string group = args.text_or("group", "");
    const duration back = args.milliseconds("since_ms").value_or(report_reaches_back);
    if (auto p = args.problem()) {
        co_return std::unexpected(*p);
    }
    std::vector<std::string> names;
    if (!group.empty()) {
        names.push_back(group);
    } else {
        for (const receiver_group_status &g : engine.status()) {
            names.push_back(g.name);
        }
    }
    const wall_time now = system_clock().wall();
    const wall_time since = now - std::min(back, report_reaches_back_max);
    json groups = json::array();
    for (const std::string &name : names) {
        auto one = co_await shielded(owner, engine.report(name, since));
        if (one) {
            groups.push_back(to_json(*one));
        } else if (group.empty()) {
            groups.push_back({{"name", name}, {"error", one.error().text()}});
        } else {
            co_return std::unexpected(failure_of(one.error()));
        }
    }
    co_return control::json{
        {"time", to_rfc3339(now)}, {"since", to_rfc3339(since)}, {"groups", std::move(groups)}};
}

} // namespace farshore
