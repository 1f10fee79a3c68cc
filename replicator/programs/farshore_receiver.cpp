// farshore-receiver: see farshore-receiver(8).

#include "replicator/daemon/daemon_main.hpp"
#include "replicator/daemon/receiver_service.hpp"

int main(int argc, char **argv) {
    using namespace farshore;
    return daemon_main<receiver_config>("farshore-receiver", argc, argv, parse_receiver_config,
                                        run_receiver);
}
