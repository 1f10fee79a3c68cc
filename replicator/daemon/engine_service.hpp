#pragma once
// An engine over a site of its own, behind the service interface: the same for both roles but for
// the types.

#include "replicator/daemon/daemon.hpp"
#include "replicator/daemon/daemon_commands.hpp"
#include "replicator/session/site.hpp"
#include "replicator/storage/posix_file_system.hpp"

#include <fmt/format.h>

namespace farshore {

template <class Engine, class Commands, class Config>
class engine_service final : public service {
  public:
    engine_service(Config config, runtime run, std::vector<executor> nbd_loops, pool_maker pools,
                   std::unique_ptr<file_system> files = std::make_unique<posix_file_system>())
        : files_(std::move(files)), work_(run.home),
          here_(
              std::make_shared<site>(config.state, config.tls, run, *files_, std::move(nbd_loops))),
          engine_(std::move(config), here_), commands_(engine_, work_) {
        here_->use_pools(std::move(pools));
    }

    task<result<>> start() override { return engine_.start(); }
    void end_commands() override {
        ending_ = true;
        engine_.end_commands();
    }
    task<void> stop(duration drain) override {
        end_commands();
        co_await work_.join();
        co_await engine_.stop(drain);
        REPL_ASSERT(work_.running() == 0);
    }
    task<control::outcome> run_command(std::string command, control::json arguments,
                                       control::progress_sink progress) override {
        if (ending_) {
            co_return std::unexpected(control::stopping_failure());
        }
        auto answer =
            co_await commands_.run(std::move(command), std::move(arguments), std::move(progress));
        if (!answer && ending_) {
            co_return std::unexpected(control::stopping_failure());
        }
        co_return answer;
    }
    Engine &engine() { return engine_; }
    const std::shared_ptr<site> &here() const { return here_; }
    void reload() override { engine_.reload(); }
    std::string summary() const override {
        std::string text;
        for (const auto &g : engine_.status()) {
            if (text.size() > 200) {
                return text + ", ...";
            }
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", g.name, name_of(g.state));
        }
        return text;
    }

  private:
    std::unique_ptr<file_system> files_;
    bool ending_ = false;
    task_group work_; ///< of commands; must be idle before the engine stops
    std::shared_ptr<site> here_;
    Engine engine_;
    Commands commands_;
};

} // namespace farshore
