// farshore: see farshore(1).

#include "replicator/cli/cli.hpp"
#include "replicator/demo/demo.hpp"

int main(int argc, char **argv) {
    using namespace farshore;
    return run_cli(cli_program::farshore, {argv + 1, argv + argc}, process_terminal(), run_demo);
}
