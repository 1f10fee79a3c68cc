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

/// Of a role that was taken back there is no point.
inline control::json to_json(const promote_outcome &p) {
    const bool at_point = !p.point.id.empty();
    const control::json time =
        at_point ? control::json(to_rfc3339(p.point.time)) : control::json(nullptr);
    return {{"group", p.group},
            {"point", at_point ? control::json(p.point.id) : control::json(nullptr)},
            {"time", time},
            {"generation", p.generation},
            {"lost_after", time},
            {"nothing_lost", p.nothing_lost},
            {"kind", p.point.kind},
            {"name", p.point.name},
            {"start", start_steps_document(p.start)}, // the CLI runs them
            {"volumes", volumes_document(p.volumes)}};
}

/// Until the other site is close behind.
constexpr duration switchover_patience = std::chrono::seconds(60);

template <class Served>
class role_commands {
  public:
    role_commands(Served &served, task_group &owner) : served_(served), owner_(owner) {}

    static bool knows(const std::string &command) {
        return command == "promote" || command == "commit" || command == "demote" ||
               command == "reverse" || command == "switchover";
    }

    /// The name is said twice, since clients depend on it.
    task<control::outcome> run(std::string command, control::json given,
                               control::progress_sink progress) {
        arguments args(given);
        if (command == "switchover") {
            co_return co_await switchover(args);
        }
        const std::string group = args.text("group");
        const std::string point = command == "promote" ? args.text_or("point", "") : "";
        const bool forced = command == "promote" && args.flag("force");
        const std::string keep = command == "reverse" ? args.text_or("keep", "") : "";
        const std::string confirm = command == "commit" ? group : args.text("confirm");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (confirm != group) {
            co_return std::unexpected(usage_failure("--confirm says \"" + confirm +
                                                    "\" and the group is \"" + group + "\""));
        }
        if (!keep.empty() && keep != "there") {
            co_return std::unexpected(usage_failure(
                keep == "here" ? "to keep what is here, run `farshore reverse --keep there` at the "
                                 "other site, which follows then"
                               : "--keep says \"there\" or \"here\""));
        }
        if (command == "commit") {
            co_return done_or_failure(co_await shielded(owner_, served_.settle(group)), group,
                                      "committed");
        }
        if (command == "reverse") {
            co_return done_or_failure(
                co_await shielded(owner_, served_.reverse(group, !keep.empty())), group, "follows");
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
    /// Each group, and the same names once more.
    task<control::outcome> switchover(arguments &args) {
        const std::vector<std::string> groups = args.texts("groups", limits::groups_max);
        const std::vector<std::string> confirm = args.texts("confirm", limits::groups_max);
        const duration timeout = args.milliseconds("timeout_ms").value_or(switchover_patience);
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (groups.empty() || groups != confirm) {
            co_return std::unexpected(
                usage_failure("--confirm has to say the names of the groups, in their order"));
        }
        const auto done = co_await shielded(owner_, served_.switchover(groups, timeout));
        if (!done) {
            co_return std::unexpected(failure_of(done.error()));
        }
        control::json list = control::json::array();
        for (const switchover_outcome &o : *done) {
            list.push_back(
                {{"group", o.group},
                 {"point", o.point},
                 {"generation", o.generation},
                 {"held_ms",
                  std::chrono::duration_cast<std::chrono::milliseconds>(o.held).count()}});
        }
        co_return control::json{{"switched_over", std::move(list)}};
    }

    Served &served_;
    task_group &owner_;
};

} // namespace farshore
