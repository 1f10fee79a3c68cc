#pragma once
// main() of both daemons: options, configuration, log, and then daemon.hpp.

#include "replicator/config/config_file.hpp"
#include "replicator/daemon/daemon.hpp"

#include <optional>
#include <string>

namespace farshore {

struct daemon_options {
    std::string config;
    bool debug = false;
};
struct daemon_arguments {
    std::optional<daemon_options> options; ///< nothing: print `text` and exit with `exit`
    std::string text;
    int exit = 0;
};
/// --config FILE, --debug, --help, --version. Anything else is a usage error (exit 2).
daemon_arguments parse_daemon_arguments(const std::string &program, int argc,
                                        const char *const *argv);

/// The whole of a daemon's main(). `parse` is one of config_file.hpp, `run` gets what it gave.
template <class Config>
int daemon_main(const std::string &program, int argc, const char *const *argv,
                config_result<Config> (*parse)(std::string_view), int (*run)(Config));

/// Prints and returns the exit code; see daemon_main.
int report_arguments(const daemon_arguments &a);
int report_config(const std::string &file, const config_problems &problems);
int run_logged(const std::string &program, bool debug, const std::function<int()> &run);

template <class Config>
int daemon_main(const std::string &program, int argc, const char *const *argv,
                config_result<Config> (*parse)(std::string_view), int (*run)(Config)) {
    const daemon_arguments a = parse_daemon_arguments(program, argc, argv);
    if (!a.options) {
        return report_arguments(a);
    }
    const auto text = read_config_file(a.options->config);
    if (!text) {
        return report_config(a.options->config, text.error());
    }
    auto config = parse(*text);
    if (!config) {
        return report_config(a.options->config, config.error());
    }
    return run_logged(program, a.options->debug, [&] { return run(std::move(*config)); });
}

} // namespace farshore
