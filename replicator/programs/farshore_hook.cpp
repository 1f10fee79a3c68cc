// farshore-hook: see farshore-hook(8).

#include "replicator/hook/hook_main.hpp"

int main(int argc, char **argv) { return farshore::hook::hook_main(argc, argv); }
