#pragma once
// Rehearsals as the receiver's control socket sees them: what the CLI, which runs them, tells of
// one, and what it is told of the group's runbook.
//
// Threads: home executor.

#include "replicator/base/async.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/base/start_step.hpp"
#include "replicator/daemon/arguments.hpp"
#include "replicator/daemon/shielded.hpp"
#include "replicator/session/status.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace farshore {

/// [{"name", "run", "probe", "timeout_ms"}]
inline control::json start_steps_document(const std::vector<start_step> &steps) {
    control::json list = control::json::array();
    for (const start_step &s : steps) {
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(s.timeout).count();
        list.push_back({{"name", s.name}, {"run", s.run}, {"probe", s.probe}, {"timeout_ms", ms}});
    }
    return list;
}

/// How a rehearsal ended that took `took_ms` and ended just now.
template <class Engine>
task<control::outcome> note_test(Engine &engine, task_group &owner, arguments &args) {
    const std::string group = args.text("group");
    const std::string point = args.text("point");
    test_info test;
    test.name = args.text_or("name", "");
    test.passed = args.flag("passed");
    test.took = args.milliseconds("took_ms").value_or(duration{});
    test.message = args.text_or("message", "");
    if (auto p = args.problem()) {
        co_return std::unexpected(*p);
    }
    const bool a_number = std::ranges::all_of(point, [](char c) { return c >= '0' && c <= '9'; });
    if (!a_number || (!test.name.empty() && !is_plain_name(test.name))) {
        co_return std::unexpected(usage_failure(
            "note_test takes a point's id, and of a test's name: " + std::string(plain_name_rule)));
    }
    test.time = system_clock().wall() - test.took;
    const auto noted = co_await shielded(owner, engine.note_test(group, point, std::move(test)));
    if (!noted) {
        co_return std::unexpected(failure_of(noted.error()));
    }
    co_return control::json{{"group", group}, {"point", noted->id}, {"done", "noted"}};
}

} // namespace farshore
