#include "replicator/daemon/sender_service.hpp"

#include "replicator/base/log.hpp"
#include "replicator/daemon/engine_service.hpp"
#include "replicator/quiesce/hook_process.hpp"
#include "replicator/sender/sender.hpp"

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

} // namespace

int run_sender(sender_config config) {
    if (!config.http.empty()) {
        log::warning("http = \"{}\": this version serves no HTTP", config.http);
    }
    const std::string control_path = config.control;
    return run_daemon(
        control_path, [&](runtime run, std::vector<executor> nbd_loops, pool_maker pools) {
            using engine_type = sender;
            const hook_process_options hooks = hook_options_of(config);
            auto service = std::make_unique<
                engine_service<engine_type, sender_commands<engine_type>, sender_config>>(
                std::move(config), run, std::move(nbd_loops), std::move(pools));
            service->engine().use_applications(std::make_shared<hook_processes>(hooks, run));
            return service;
        });
}

} // namespace farshore
