#pragma once
// The receiver's command `scrub`. Used by receiver_commands (daemon_commands.hpp).
//
// Threads: home executor.

#include "replicator/daemon/arguments.hpp"
#include "replicator/daemon/shielded.hpp"
#include "replicator/daemon/status_json.hpp"

#include <string>
#include <utility>

namespace farshore {

/// The pass goes on when the client is gone.
template <class Engine>
task<control::outcome> run_scrub(Engine &engine, task_group &owner, arguments &args,
                                 control::progress_sink progress) {
    const std::string group = args.text("group");
    const bool wait = args.flag("wait");
    if (auto p = args.problem()) {
        co_return std::unexpected(*p);
    }
    auto report = [progress = std::move(progress)](std::uint64_t done, std::uint64_t total) {
        progress({{"done_bytes", done}, {"total_bytes", total}});
    };
    const auto over = co_await shielded(owner, engine.scrub(group, wait, std::move(report)));
    if (!over) {
        co_return std::unexpected(failure_of(over.error()));
    }
    co_return *over ? to_json(**over) : control::json{{"group", group}, {"done", "scrub_started"}};
}

} // namespace farshore
