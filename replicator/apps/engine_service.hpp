#pragma once
// An engine behind the service interface: the same for both roles but for the types.

#include "replicator/apps/daemon.hpp"
#include "replicator/apps/daemon_commands.hpp"
#include "replicator/storage/posix_file_system.hpp"

#include <fmt/format.h>

namespace farshore::apps {

template <class Engine, class Commands, class Config>
class engine_service final : public service {
  public:
    engine_service(Config config, runtime run, std::vector<executor> nbd_loops, pool_maker pools)
        : work_(run.home), engine_(std::move(config), run, files_, std::move(nbd_loops)),
          commands_(engine_, work_) {
        engine_.use_pools(std::move(pools));
    }

    task<result<>> start() override { return engine_.start(); }
    task<void> stop(duration drain) override { return engine_.stop(drain); }
    task<control::outcome> run_command(std::string command, control::json arguments,
                                       control::progress_sink progress) override {
        return commands_.run(std::move(command), std::move(arguments), std::move(progress));
    }
    void reload() override { engine_.reload(); }
    task<void> join_commands() override { return work_.join(); }
    std::string summary() const override {
        std::string text;
        for (const auto &g : engine_.status()) {
            if (text.size() > 200) {
                return text + ", ...";
            }
            text +=
                fmt::format("{}{} {}", text.empty() ? "" : ", ", g.name, engine::name_of(g.state));
        }
        return text;
    }

  private:
    posix_file_system files_;
    task_group work_;
    Engine engine_;
    Commands commands_;
};

} // namespace farshore::apps
