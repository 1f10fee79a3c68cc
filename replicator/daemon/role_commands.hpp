#pragma once
// Promotion, its end and its undoing, and the way of a fenced site to follow, as the control
// sockets see them.
//
// Threads: home executor. `owner`: a hang-up does not tear them.

#include "replicator/base/rfc3339.hpp"
#include "replicator/daemon/arguments.hpp"
#include "replicator/daemon/daemon_commands.hpp"
#include "replicator/daemon/rehearsal_commands.hpp"
#include "replicator/daemon/shielded.hpp"
#include "replicator/session/status.hpp"

#include <string>
#include <utility>

namespace farshore {

inline control::json volumes_document(const std::vector<served_volume> &volumes) {
    control::json list = control::json::array();
    for (const served_volume &v : volumes) {
        list.push_back({{"volume", v.volume}, {"nbd", v.uri}});
    }
    return list;
}

inline control::json to_json(const promote_outcome &p) {
    return {{"group", p.group},
            {"point", p.point.id},
            {"time", to_rfc3339(p.point.time)},
            {"generation", p.generation},
            {"lost_after", to_rfc3339(p.point.time)},
            {"nothing_lost", p.nothing_lost},
            {"kind", p.point.kind},
            {"name", p.point.name},
            {"start", start_steps_document(p.start)}, // the CLI runs them
            {"volumes", volumes_document(p.volumes)}};
}

template <class Served>
class role_commands {
  public:
    role_commands(Served &served, task_group &owner) : served_(served), owner_(owner) {}

    static bool knows(const std::string &command) {
        return command == "promote" || command == "commit" || command == "demote" ||
               command == "reverse";
    }

    /// The name is said twice, since clients depend on it.
    task<control::outcome> run(std::string command, control::json given,
                               control::progress_sink progress) {
        arguments args(given);
        const std::string group = args.text("group");
        const std::string point = command == "promote" ? args.text_or("point", "") : "";
        const bool forced = command == "promote" && args.flag("force");
        const std::string confirm = command == "commit" ? group : args.text("confirm");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (confirm != group) {
            co_return std::unexpected(usage_failure("--confirm says \"" + confirm +
                                                    "\" and the group is \"" + group + "\""));
        }
        if (command == "commit") {
            co_return done_or_failure(co_await shielded(owner_, served_.settle(group)), group,
                                      "committed");
        }
        if (command == "reverse") {
            co_return done_or_failure(co_await shielded(owner_, served_.reverse(group)), group,
                                      "follows");
        }
        if (command == "demote") {
            co_return done_or_failure(co_await shielded(owner_, served_.discard(group)), group,
                                      "discarded");
        }
        const auto promoted = co_await shielded(
            owner_, served_.promote(group, point, forced, report_to(std::move(progress))));
        if (!promoted) {
            co_return std::unexpected(failure_of(promoted.error()));
        }
        co_return to_json(*promoted);
    }

  private:
    Served &served_;
    task_group &owner_;
};

} // namespace farshore
