// farshore-sender: see farshore-sender(8).

#include "replicator/apps/daemon_main.hpp"
#include "replicator/apps/sender_service.hpp"

int main(int argc, char **argv) {
    using namespace farshore;
    return apps::daemon_main<engine::sender_config>("farshore-sender", argc, argv,
                                                    apps::parse_sender_config, apps::run_sender);
}
