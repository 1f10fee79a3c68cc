// farshore: see farshore(1).

#include "replicator/apps/cli.hpp"

int main(int argc, char **argv) {
    using namespace farshore;
    return apps::run_cli(apps::cli_program::farshore, {argv + 1, argv + argc},
                         apps::process_terminal());
}
