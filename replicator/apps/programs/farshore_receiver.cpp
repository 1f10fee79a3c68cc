// farshore-receiver: see farshore-receiver(8).

#include "replicator/apps/daemon_main.hpp"
#include "replicator/apps/receiver_service.hpp"

int main(int argc, char **argv) {
    using namespace farshore;
    return apps::daemon_main<engine::receiver_config>(
        "farshore-receiver", argc, argv, apps::parse_receiver_config, apps::run_receiver);
}
