#include "replicator/daemon/sender_service.hpp"

#include "replicator/base/log.hpp"
#include "replicator/control/exit_code.hpp"
#include "replicator/daemon/engine_service.hpp"
#include "replicator/daemon/role_commands.hpp"
#include "replicator/failover/turned_groups.hpp"
#include "replicator/quiesce/hook_process.hpp"
#include "replicator/sender/sender.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace farshore {
namespace {

/// Beside our own program, as they are installed. A file system that we write to must not be
/// frozen: who has to release it would stand still.
hook_process_options hook_options_of(const sender_config &config) {
    std::error_code ignored;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
    hook_process_options o;
    o.program = (self.parent_path() / "farshore-hook").string();
    o.never = {config.state, config.control, self.string()};
    return o;
}

/// What `promote` and the others mean here: of a group that has followed once.
class primary_roles {
  public:
    primary_roles(sender &plain, turned_groups &turned) : plain_(plain), turned_(turned) {}

    task<result<promote_outcome>> promote(std::string group, std::string point, bool forced,
                                          progress_report progress) {
        if (!turned_.has(group) && forced && point.empty()) { // its role may be in doubt
            FS_CO_TRY(generation, co_await plain_.take_role_back(group));
            co_return role_taken_back(std::move(group), std::move(generation));
        }
        FS_CO_CHECK(has_copy(group));
        co_return co_await turned_.served().promote(std::move(group), std::move(point), forced,
                                                    std::move(progress));
    }
    task<result<std::vector<switchover_outcome>>> switchover(std::vector<std::string> groups,
                                                             duration patience) {
        return turned_.switchover(std::move(groups), patience);
    }
    task<result<>> settle(std::string group) {
        FS_CO_CHECK(has_copy(group));
        co_return co_await turned_.served().settle(std::move(group));
    }
    task<result<>> discard(std::string group) {
        FS_CO_CHECK(has_copy(group));
        co_return co_await turned_.served().discard(std::move(group));
    }
    task<result<>> reverse(std::string group, bool keep_there) {
        return turned_.reverse(std::move(group), keep_there);
    }

  private:
    result<> has_copy(const std::string &group) const {
        return turned_.has(group)
                   ? result<>()
                   : fail(errc::refused,
                          fmt::format("group \"{}\" never followed at this site: it serves, or is "
                                      "fenced (`farshore status`). The other site is promoted at "
                                      "its receiver",
                                      group));
    }
    sender &plain_;
    turned_groups &turned_;
};

/// The engine, and the groups that have followed once.
class sender_daemon final : public service {
  public:
    using engine_type = engine_service<sender, sender_commands<sender>, sender_config>;

    sender_daemon(const sender_config &config, const std::vector<std::string> &turned,
                  const std::shared_ptr<application_host> &applications, runtime run,
                  std::vector<executor> nbd_loops, pool_maker pools)
        : config_(config),
          inner_(without(config, turned), run, std::move(nbd_loops), std::move(pools)),
          turned_(inner_.engine(), inner_.here(), config, turned, applications), work_(run.home) {
        inner_.engine().use_applications(applications);
    }

    task<result<>> start() override {
        auto started = co_await inner_.start();
        if (started) {
            started = co_await turned_.start();
        }
        co_return started;
    }
    void end_commands() override {
        ending_ = true;
        turned_.end_commands();
        inner_.end_commands();
    }
    task<void> stop(duration drain) override {
        end_commands();
        co_await work_.join();
        co_await turned_.stop();
        co_await inner_.stop(drain);
    }
    task<control::outcome> run_command(std::string command, control::json arguments,
                                       control::progress_sink progress) override {
        if (ending_) {
            co_return std::unexpected(control::stopping_failure());
        }
        if (roles_.knows(command)) {
            co_return co_await roles_.run(std::move(command), std::move(arguments),
                                          std::move(progress));
        }
        if (command == "status") {
            co_return status(arguments);
        }
        if (!of_turned(command, arguments)) {
            co_return co_await inner_.run_command(std::move(command), std::move(arguments),
                                                  std::move(progress));
        }
        const std::string group = text_of(arguments, "group");
        if (!asks_the_serving_site(command) && command != "peers" && command != "unpair") {
            co_return co_await copies_.run(std::move(command), std::move(arguments),
                                           std::move(progress));
        }
        sender *half = turned_.served().half(group);
        if (half == nullptr) {
            co_return std::unexpected(failure_of(
                {make_error_code(errc::not_in_sync),
                 fmt::format("group \"{}\" follows at this site: ask the one that serves",
                             group)}));
        }
        sender_commands<sender> commands(*half, work_);
        co_return co_await commands.run(std::move(command), std::move(arguments),
                                        std::move(progress));
    }
    void reload() override { inner_.reload(); }
    std::string summary() const override {
        std::string text = inner_.summary();
        for (const sender_group_status &s : turned_.status()) {
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", s.name, name_of(s.state));
        }
        return text;
    }

  private:
    static sender_config without(sender_config config, const std::vector<std::string> &turned) {
        std::erase_if(config.groups, [&](const sender_group_config &g) {
            return std::ranges::find(turned, g.name) != turned.end();
        });
        return config;
    }
    static std::string text_of(const control::json &arguments, const char *key) {
        const auto at = arguments.find(key);
        return at != arguments.end() && at->is_string() ? at->get<std::string>() : "";
    }
    /// What is open is asked for without a group.
    bool of_turned(const std::string &command, const control::json &arguments) const {
        return turned_.has(text_of(arguments, "group")) ||
               (turned_.any() && (command == "opened" || command == "close"));
    }
    control::outcome status(const control::json &given) {
        arguments args(given);
        const std::string group = args.text_or("group", "");
        if (auto p = args.problem()) {
            return std::unexpected(*p);
        }
        auto groups = inner_.engine().status();
        for (sender_group_status &s : turned_.status()) {
            groups.push_back(std::move(s));
        }
        const auto place = [this](const sender_group_status &s) {
            return std::ranges::find(config_.groups, s.name, &sender_group_config::name);
        };
        std::ranges::sort(groups, {}, place);
        return keep_group(groups, group) ? control::outcome(sender_status_document(groups))
                                         : no_such_group(group);
    }

    sender_config config_;
    engine_type inner_;
    turned_groups turned_;
    task_group work_; ///< of commands on roles and turned groups
    primary_roles turning_{inner_.engine(), turned_};
    role_commands<primary_roles> roles_{turning_, work_};
    receiver_commands<receiver> copies_{turned_.copies(), work_};
    bool ending_ = false;
};

} // namespace

int run_sender(sender_config config) {
    if (!config.http.empty()) {
        log::warning("http = \"{}\": this version serves no HTTP", config.http);
    }
    posix_file_system files;
    const auto turned = turned_groups::found(files, config);
    if (!turned) {
        log::error("{}", turned.error().text());
        return value_of(exit_code::failed);
    }
    const std::string control_path = config.control;
    return run_daemon(control_path, [&](runtime run, std::vector<executor> nbd_loops,
                                        pool_maker pools) {
        const auto applications = std::make_shared<hook_processes>(hook_options_of(config), run);
        return std::make_unique<sender_daemon>(config, *turned, applications, run,
                                               std::move(nbd_loops), std::move(pools));
    });
}

} // namespace farshore
