#include "replicator/daemon/receiver_service.hpp"

#include "replicator/base/log.hpp"
#include "replicator/daemon/engine_service.hpp"
#include "replicator/daemon/test_desk.hpp"
#include "replicator/receiver/receiver.hpp"

namespace farshore {
namespace {

using receiver_engine = engine_service<receiver, receiver_commands<receiver>, receiver_config>;

/// The engine, and the rehearsals that it is asked for on a schedule.
class receiver_daemon final : public service {
  public:
    receiver_daemon(const receiver_config &config, runtime run, std::vector<executor> nbd_loops,
                    pool_maker pools)
        : inner_(config, run, std::move(nbd_loops), std::move(pools)),
          desk_(inner_.engine(), config, run, config.control) {}

    task<result<>> start() override {
        auto started = co_await inner_.start();
        if (started) {
            desk_.start();
        }
        co_return started;
    }
    void end_commands() override {
        desk_.end();
        inner_.end_commands();
    }
    task<void> stop(duration drain) override {
        end_commands();
        co_await desk_.join();
        co_await inner_.stop(drain);
    }
    task<control::outcome> run_command(std::string command, control::json arguments,
                                       control::progress_sink progress) override {
        return inner_.run_command(std::move(command), std::move(arguments), std::move(progress));
    }
    void reload() override { inner_.reload(); }
    std::string summary() const override { return inner_.summary(); }

  private:
    receiver_engine inner_;
    test_desk desk_;
};

} // namespace

int run_receiver(receiver_config config) {
    if (!config.http.empty()) {
        log::warning("http = \"{}\": this version serves no HTTP", config.http);
    }
    const std::string control_path = config.control;
    return run_daemon(control_path,
                      [&](runtime run, std::vector<executor> nbd_loops, pool_maker pools) {
                          return std::make_unique<receiver_daemon>(
                              config, run, std::move(nbd_loops), std::move(pools));
                      });
}

} // namespace farshore
