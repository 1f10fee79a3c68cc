// farshore-throttle: see farshore-throttle(1).

#include "replicator/cli/cli.hpp"

int main(int argc, char **argv) {
    using namespace farshore;
    return run_cli(cli_program::throttle, {argv + 1, argv + argc}, process_terminal());
}
