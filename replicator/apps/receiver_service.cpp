#include "replicator/apps/receiver_service.hpp"

#include "replicator/apps/engine_service.hpp"
#include "replicator/base/log.hpp"
#include "replicator/engine/receiver.hpp"

namespace farshore::apps {

int run_receiver(engine::receiver_config config) {
    if (!config.http.empty()) {
        log::warning("http = \"{}\": this version serves no HTTP", config.http);
    }
    const std::string control_path = config.control;
    return run_daemon(control_path, [&](runtime run, std::vector<executor> nbd_loops, pool_maker pools) {
        using engine_type = engine::receiver;
        return std::make_unique<
            engine_service<engine_type, receiver_commands<engine_type>, engine::receiver_config>>(
            std::move(config), run, std::move(nbd_loops), std::move(pools));
    });
}

} // namespace farshore::apps
