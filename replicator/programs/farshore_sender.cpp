// farshore-sender: see farshore-sender(8).

#include "replicator/daemon/daemon_main.hpp"
#include "replicator/daemon/sender_service.hpp"

int main(int argc, char **argv) {
    using namespace farshore;
    return daemon_main<sender_config>("farshore-sender", argc, argv, parse_sender_config,
                                      run_sender);
}
