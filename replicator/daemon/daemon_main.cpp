#include "replicator/daemon/daemon_main.hpp"

#include "replicator/base/log.hpp"
#include "replicator/control/exit_code.hpp"
#include "replicator/daemon/log_setup.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <sstream>

namespace farshore {

daemon_arguments parse_daemon_arguments(const std::string &program, int argc,
                                        const char *const *argv) {
    daemon_options options;
    CLI::App app(program + ": runs in the foreground, logs to standard error, stops on SIGTERM.",
                 program);
    app.add_option("--config", options.config, "configuration file (TOML)")
        ->required()
        ->type_name("FILE");
    app.add_flag("--debug", options.debug, "log details too");
    app.set_version_flag("--version", program + " " FARSHORE_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError &e) {
        std::ostringstream text;
        const int code = app.exit(e, text, text);
        return {std::nullopt, text.str(), code == 0 ? 0 : value_of(exit_code::usage)};
    }
    return {std::move(options), "", 0};
}

int report_arguments(const daemon_arguments &a) {
    std::fputs(a.text.c_str(), a.exit == 0 ? stdout : stderr);
    return a.exit;
}

int report_config(const std::string &file, const config_problems &problems) {
    std::fputs(to_text(file, problems).c_str(), stderr);
    return value_of(exit_code::usage);
}

int run_logged(const std::string &program, bool debug, const std::function<int()> &run) {
    prepare_process();
    set_up_log(debug);
    log::info("{} {}", program, FARSHORE_VERSION);
    int code = value_of(exit_code::failed);
    try {
        code = run();
    } catch (const std::exception &e) {
        log::error("can't start: {}", e.what());
    }
    shut_down_log();
    return code;
}

} // namespace farshore
