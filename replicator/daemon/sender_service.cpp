#include "replicator/daemon/sender_service.hpp"

#include "replicator/base/log.hpp"
#include "replicator/daemon/engine_service.hpp"
#include "replicator/sender/sender.hpp"

namespace farshore {

int run_sender(sender_config config) {
    if (!config.http.empty()) {
        log::warning("http = \"{}\": this version serves no HTTP", config.http);
    }
    const std::string control_path = config.control;
    return run_daemon(
        control_path, [&](runtime run, std::vector<executor> nbd_loops, pool_maker pools) {
            using engine_type = sender;
            return std::make_unique<
                engine_service<engine_type, sender_commands<engine_type>, sender_config>>(
                std::move(config), run, std::move(nbd_loops), std::move(pools));
        });
}

} // namespace farshore
