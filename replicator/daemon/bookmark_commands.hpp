#pragma once
// The sender's command `bookmark`. Used by sender_commands (daemon_commands.hpp).
//
// Threads: home executor.

#include "replicator/daemon/arguments.hpp"
#include "replicator/daemon/shielded.hpp"
#include "replicator/daemon/status_json.hpp"

#include <string>
#include <utility>

namespace farshore {

/// It ends when the client is gone, too: applications are released by who froze them.
template <class Engine>
task<control::outcome> run_bookmark(Engine &engine, task_group &owner, arguments &args) {
    const std::string group = args.text("group");
    bookmark_request wanted;
    wanted.name = args.text("name");
    wanted.note = args.text_or("note", "");
    wanted.app = args.flag("app");
    wanted.keep = args.milliseconds("keep_ms").value_or(duration::zero());
    wanted.timeout = args.milliseconds("timeout_ms").value_or(bookmark_timeout_default);
    if (auto p = args.problem()) {
        co_return std::unexpected(*p);
    }
    const auto made = co_await shielded(owner, engine.bookmark(group, std::move(wanted)));
    if (!made) {
        co_return std::unexpected(failure_of(made.error()));
    }
    co_return to_json(*made);
}

} // namespace farshore
