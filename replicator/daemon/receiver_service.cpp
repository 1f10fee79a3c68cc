#include "replicator/daemon/receiver_service.hpp"

#include "replicator/base/log.hpp"
#include "replicator/daemon/engine_service.hpp"
#include "replicator/daemon/role_commands.hpp"
#include "replicator/daemon/test_desk.hpp"
#include "replicator/failover/served_groups.hpp"
#include "replicator/receiver/receiver.hpp"

namespace farshore {
namespace {

using receiver_engine = engine_service<receiver, receiver_commands<receiver>, receiver_config>;

/// The engine, what it serves after promotions, and the rehearsals that it is asked for on a
/// schedule.
class receiver_daemon final : public service {
  public:
    receiver_daemon(const receiver_config &config, runtime run, std::vector<executor> nbd_loops,
                    pool_maker pools)
        : inner_(config, run, std::move(nbd_loops), std::move(pools)),
          desk_(inner_.engine(), config, run, config.control), work_(run.home),
          served_(inner_.engine(), inner_.here(), served_means_of(config)) {
        inner_.engine().use_served([this](receiver_group_status &s) { served_.describe(s); });
    }

    task<result<>> start() override {
        auto started = co_await inner_.start();
        if (started) {
            served_.start();
            desk_.start();
        }
        co_return started;
    }
    void end_commands() override {
        ending_ = true;
        desk_.end();
        served_.end_commands();
        inner_.end_commands();
    }
    task<void> stop(duration drain) override {
        end_commands();
        co_await desk_.join();
        co_await work_.join();
        co_await served_.stop(); // it uses the copies
        co_await inner_.stop(drain);
    }
    task<control::outcome> run_command(std::string command, control::json arguments,
                                       control::progress_sink progress) override {
        if (roles_.knows(command) && !ending_) {
            co_return co_await roles_.run(std::move(command), std::move(arguments),
                                          std::move(progress));
        }
        const auto group = arguments.find("group");
        sender *half = group != arguments.end() && group->is_string()
                           ? served_.half(group->get<std::string>())
                           : nullptr;
        if (half != nullptr && asks_the_serving_site(command) && !ending_) {
            sender_commands<sender> commands(*half, work_);
            co_return co_await commands.run(std::move(command), std::move(arguments),
                                            std::move(progress));
        }
        co_return co_await inner_.run_command(std::move(command), std::move(arguments),
                                              std::move(progress));
    }
    void reload() override { inner_.reload(); }
    std::string summary() const override { return inner_.summary(); }

  private:
    receiver_engine inner_;
    test_desk desk_;
    task_group work_; ///< of commands on roles
    served_groups served_;
    role_commands<served_groups> roles_{served_, work_};
    bool ending_ = false;
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
