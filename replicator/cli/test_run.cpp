#include "replicator/cli/test_run.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/opening_limits.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/cli/cli_request.hpp"
#include "replicator/cli/interrupt.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/cli/progress.hpp"
#include "replicator/config/units.hpp"
#include "replicator/control/exit_code.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <unistd.h>

namespace farshore {
namespace {

std::unexpected<control::failure> wrong(std::string text) {
    return std::unexpected(usage_failure(std::move(text)));
}

} // namespace

std::expected<rehearsal::request, control::failure> test_request(const invocation &inv) {
    const test_words &t = inv.test;
    rehearsal::request r;
    r.from = {inv.group, inv.point, inv.applied, inv.open.suspect, {}, true, t.mount, {}};
    if (!inv.open.space.empty()) {
        const auto bytes = parse_size(inv.open.space);
        if (!bytes) {
            return wrong("--space: " + bytes.error().context);
        }
        if (*bytes < block_bytes || *bytes > limits::overlay_space_max) {
            return wrong("--space is from 4KiB to 1024TiB");
        }
        r.from.space_bytes = *bytes;
    }
    if (!inv.timeout.empty()) {
        const auto time = parse_duration(inv.timeout);
        if (!time || *time <= duration{} || *time > limits::script_time_max) {
            return wrong("--timeout: " + (time ? "it is 1ms to 7d" : time.error().context));
        }
        r.timeout = *time;
    }
    if (!t.name.empty() && !is_plain_name(t.name)) {
        return wrong(fmt::format("--name \"{}\" is not valid: {}", t.name, plain_name_rule));
    }
    const std::string script = std::filesystem::absolute(t.run).lexically_normal().string();
    if (std::filesystem::is_directory(script) || ::access(script.c_str(), X_OK) != 0) {
        return wrong(fmt::format("--run {}: there is no program that may be run; give the path of "
                                 "an executable file (chmod +x)",
                                 t.run));
    }
    r.run.push_back(script);
    r.run.insert(r.run.end(), t.arguments.begin(), t.arguments.end());
    r.name = t.name;
    r.isolate = t.isolate;
    r.user = t.user;
    return r;
}

control::outcome run_test(const invocation &inv, const terminal &term) {
    const auto request = test_request(inv);
    if (!request) {
        return std::unexpected(request.error());
    }
    const interrupt_flag interrupted;
    progress_line line(term);
    const carry::means with{inv.socket, control::call_limits{},
                            [] { return interrupt_flag::raised(); },
                            [&](const std::string &what, std::uint64_t done, std::uint64_t total) {
                                line.show_bytes(what, done, total, system_clock().now());
                            },
                            [&](const std::string &text) { term.err(text + "\n"); }};
    std::function<void(const std::string &)> output;
    if (!inv.as_json) {
        output = [&](const std::string &text) {
            line.clear();
            term.err(text);
        };
    }
    return rehearsal::run(*request, with, output);
}

int exit_of_test(const control::json &document) {
    if (flag_field(document, "/timed_out")) {
        return value_of(exit_code::timed_out);
    }
    if (!flag_field(document, "/passed")) {
        return value_of(exit_code::failed);
    }
    return value_of(flag_field(document, "/recorded") ? exit_code::ok : exit_code::partly);
}

std::string test_text(const control::json &document) {
    const bool passed = flag_field(document, "/passed");
    std::string why = text_field(document, "/message");
    why.erase(std::min(why.find('\n'), why.size()));
    return fmt::format(
        "{}: the rehearsal on point {} {} after {}{}\n", text_field(document, "/group"),
        text_field(document, "/point"), passed ? "passed" : "FAILED",
        format_seconds(number_field(document, "/seconds")), passed ? "" : ": " + why);
}

} // namespace farshore
