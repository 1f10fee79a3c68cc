#include "replicator/cli/cli.hpp"

#include "replicator/cli/carry_options.hpp"
#include "replicator/cli/carry_run.hpp"
#include "replicator/cli/check.hpp"
#include "replicator/cli/cli_follow.hpp"
#include "replicator/cli/cli_options.hpp"
#include "replicator/cli/cli_request.hpp"
#include "replicator/cli/interrupt.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/cli/progress.hpp"
#include "replicator/cli/promote_run.hpp"
#include "replicator/cli/render.hpp"
#include "replicator/cli/report_run.hpp"
#include "replicator/cli/role_options.hpp"
#include "replicator/cli/socket_search.hpp"
#include "replicator/cli/test_run.hpp"
#include "replicator/config/config_file.hpp"
#include "replicator/config/config_probe.hpp"
#include "replicator/control/exit_code.hpp"
#include "replicator/control/json_guard.hpp"
#include "replicator/storage/posix_file_system.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace farshore {
namespace {

int report(const control::failure &f, bool as_json, const terminal &term) {
    if (as_json) {
        const json document{{"error", {{"code", f.code}, {"message", f.message}}}};
        term.out(control::to_line(document) + "\n");
    } else {
        term.err("farshore: " + f.message + "\n");
    }
    return f.exit;
}

int report_check(const check_verdict &v, bool as_json, const terminal &term) {
    term.out((as_json ? control::to_line(v.document) : v.line) + "\n");
    return static_cast<int>(v.level);
}

int run_check(const invocation &inv, const terminal &term) {
    const auto limits = check_limits_of(inv);
    if (!limits) {
        return report_check(judged_unreachable(check_level::unknown, limits.error().message),
                            inv.as_json, term);
    }
    std::string socket = inv.socket;
    if (socket.empty()) {
        auto found = default_socket(socket_directory);
        if (!found) {
            return report_check(judged_unreachable(check_level::unknown, found.error().message),
                                inv.as_json, term);
        }
        socket = std::move(*found);
    }
    const auto request = request_of(inv);
    const auto patience = call_limits_of(inv);
    if (!patience) {
        return report_check(judged_unreachable(check_level::unknown, patience.error().message),
                            inv.as_json, term);
    }
    const auto status = control::call(socket, "status", request->arguments, nullptr, *patience);
    if (!status) {
        // A daemon that should run and doesn't, or hangs, protects nothing.
        const std::string &code = status.error().code;
        const bool dead = code == "no_daemon" || code == "timed_out" || code == "stopping";
        const auto level = dead ? check_level::critical : check_level::unknown;
        return report_check(judged_unreachable(level, status.error().message), inv.as_json, term);
    }
    return report_check(judge(*status, *limits, system_clock().wall()), inv.as_json, term);
}

int run_config_check(const invocation &inv, const terminal &term) {
    config_problems problems;
    std::string kind;
    std::size_t groups = 0;
    bool runs = false;
    const auto text = read_config_file(inv.file);
    if (text) {
        const auto config = parse_config(*text);
        if (config) {
            kind = std::holds_alternative<sender_config>(*config) ? "sender" : "receiver";
            groups = std::visit([](const auto &c) { return c.groups.size(); }, *config);
            posix_file_system files;
            probe_outcome found = probe_paths(files, named_paths_of(*text));
            problems = std::move(found.problems);
            runs = found.daemon_runs;
        } else {
            problems = config.error();
        }
    } else {
        problems = text.error();
    }
    if (problems.empty()) {
        if (inv.as_json) {
            const json document{{"file", inv.file},
                                {"kind", kind},
                                {"valid", true},
                                {"groups", groups},
                                {"running", runs}};
            term.out(control::to_line(document) + "\n");
        } else {
            term.out(fmt::format("{}: a valid file for farshore-{}, {} group{}\n", inv.file, kind,
                                 groups, groups == 1 ? "" : "s"));
            if (runs) {
                term.err("a daemon runs with this state directory: that its volumes are in use is "
                         "not counted\n");
            }
        }
        return value_of(exit_code::ok);
    }
    const std::string all = to_text(inv.file, problems);
    if (!inv.as_json) {
        term.err(all);
        return value_of(exit_code::usage);
    }
    json list = json::array();
    for (const config_problem &p : problems) {
        list.push_back({{"line", p.line}, {"column", p.column}, {"message", p.what}});
    }
    const std::string first = all.substr(0, all.find('\n'));
    const json document{{"error", {{"code", "config"}, {"message", first}, {"problems", list}}}};
    term.out(control::to_line(document) + "\n");
    return value_of(exit_code::usage);
}

/// What a person reads: data on standard output, remarks on standard error.
void print_text(const invocation &inv, const json &d, const terminal &term) {
    const std::string &c = inv.command;
    if (c == "status") {
        term.out(render_status(d, nullptr, 0));
    } else if (c == "points" && inv.plan.asked) {
        term.out(render_plan(d));
    } else if (c == "points") {
        term.out(render_points(d));
        if (list_field(d, "/points").empty()) {
            term.err(inv.group + ": no recovery point yet\n");
        }
        if (const std::string why = text_field(d, "/held_back"); !why.empty()) {
            term.err(inv.group + ": " + why + "\n");
        }
    } else if (c == "peers") {
        term.out(render_peers(d));
    } else if (c == "opened") {
        term.out(render_opened(d));
        if (list_field(d, "/opened").empty()) {
            term.err("no point is open\n");
        }
    } else if (c == "open") {
        term.out(render_open(d));
        term.err("close it with: farshore close " + text_field(d, "/id") + "\n");
    } else if (c == "verify") {
        term.out(render_verify(d));
    } else if (c == "scrub" && inv.wait) {
        term.out(render_scrub(d));
        if (const std::string why = text_field(d, "/not_compared"); !why.empty()) {
            term.err(inv.group + ": not all of the images was compared with the primary: " + why +
                     "\n");
        }
    } else if (c.starts_with("throttle")) {
        term.out(render_throttle(d));
    } else if (c == "wait") {
        term.out(text_field(d, "/point") + "\n");
        const char *shown = flag_field(d, "/applied") ? " and its replica images show it" : "";
        term.err(fmt::format("{}: the point of {} is durable at the DR site{}\n", inv.group,
                             text_field(d, "/time"), shown));
    } else if (c == "report" || (is_role_command(c) && !d.contains("done"))) {
        term.out(c == "report" ? render_report(d) : role_text(c, d));
    } else if (c == "bookmark") {
        term.out(text_field(d, "/point") + "\n");
        term.err(render_bookmark(inv.group, d));
        const std::string why = text_field(d, "/why_not_app");
        if (inv.bookmark.app && !why.empty()) {
            term.err(inv.group + ": the point is NOT application-consistent: " + why + "\n");
        }
    } else if (c == "invite") {
        term.out(text_field(d, "/token") + "\n");
        term.err("good once, until " + text_field(d, "/expires") +
                 "; at the primary site: farshore join, and this line on its standard input\n");
    } else if (c == "invite --list") {
        term.out(render_invitations(d));
        if (list_field(d, "/invitations").empty()) {
            term.err("no invitation is open\n");
        }
    } else if (c == "pin" || c == "unpin" || c == "forget") {
        term.err(inv.group + ": point " + text_field(d, "/point") + " of " +
                 text_field(d, "/time") + ": " + text_field(d, "/done") + "\n");
    } else if (c == "join") {
        term.err(fmt::format("{}: paired with {}, fingerprint {}\n", text_field(d, "/group"),
                             text_field(d, "/address"), text_field(d, "/fingerprint")));
    } else {
        std::string done = text_field(d, "/done", "done");
        std::ranges::replace(done, '_', ' ');
        term.err(fmt::format("{}: {}\n", text_field(d, "/group", text_field(d, "/id")), done));
    }
}

int exit_of(const invocation &inv, const json &document) {
    const bool differs = inv.command == "verify" && !flag_field(document, "/equal");
    if (inv.command == "scrub" && inv.wait &&
        (count_field(document, "/damaged_count") > 0 || !flag_field(document, "/compared"))) {
        return value_of(exit_code::partly);
    }
    if (inv.command == "promote" && !text_field(document, "/start_failed/name").empty()) {
        return value_of(exit_code::partly);
    }
    if (inv.command == "bookmark" &&
        ((inv.bookmark.app && text_field(document, "/kind") != "app") ||
         !flag_field(document, "/durable"))) {
        return value_of(exit_code::partly);
    }
    return value_of(differs ? exit_code::not_in_sync : exit_code::ok);
}

/// The daemon may run in another directory than the user.
void make_nbd_absolute(invocation &inv) {
    if (inv.open.nbd.starts_with("unix:") && inv.open.nbd.size() > 5 && inv.open.nbd[5] != '/') {
        std::error_code ec;
        inv.open.nbd =
            "unix:" + (std::filesystem::current_path(ec) / inv.open.nbd.substr(5)).string();
    }
}

/// A token among the arguments is there for every user of the host to read, who may then be the
/// sender himself.
std::optional<control::failure> take_token(invocation &inv, const terminal &term) {
    if (inv.command != "join") {
        return std::nullopt;
    }
    if (!inv.token.empty() && inv.token != "-") {
        term.err("farshore: every user of this host could read the token in the list of processes; "
                 "give it on standard "
                 "input instead: farshore join\n");
        return std::nullopt;
    }
    if (term.in_is_tty) {
        term.err("token: ");
    }
    const auto line = term.in_line ? term.in_line() : std::nullopt;
    if (!line || line->find_first_not_of(" \t") == std::string::npos) {
        return usage_failure("join: no token came on standard input");
    }
    inv.token = *line;
    return std::nullopt;
}

/// The work is this process's own; the daemon only opens the point.
int run_carried(invocation inv, const terminal &term) {
    terminal documents = term;
    if (streams_to_output(inv)) {
        documents.out = term.err;
    }
    if (inv.socket.empty()) {
        auto found = default_socket(socket_directory);
        if (!found) {
            return report(found.error(), inv.as_json, documents);
        }
        inv.socket = std::move(*found);
    }
    const auto answer = run_carry(inv, term);
    if (!answer) {
        return report(answer.error(), inv.as_json, documents);
    }
    if (inv.as_json) {
        documents.out(control::to_line(*answer) + "\n");
    } else {
        term.err(carry_text(inv, *answer));
    }
    return value_of(exit_code::ok);
}

int run_rehearsal(invocation inv, const terminal &term) {
    if (inv.socket.empty()) {
        auto found = default_socket(socket_directory);
        if (!found) {
            return report(found.error(), inv.as_json, term);
        }
        inv.socket = std::move(*found);
    }
    const auto answer = run_test(inv, term);
    if (!answer) {
        return report(answer.error(), inv.as_json, term);
    }
    if (inv.as_json) {
        term.out(control::to_line(*answer) + "\n");
    } else {
        term.err(test_text(*answer));
    }
    return exit_of_test(*answer);
}

int run_at_daemon(invocation inv, const terminal &term) {
    make_nbd_absolute(inv);
    if (const auto failed = take_token(inv, term)) {
        return report(*failed, inv.as_json, term);
    }
    const auto request = request_of(inv);
    if (!request) {
        return report(request.error(), inv.as_json, term);
    }
    if (const auto limits = call_limits_of(inv); !limits) {
        return report(limits.error(), inv.as_json, term);
    }
    if (inv.socket.empty()) {
        auto found = default_socket(socket_directory);
        if (!found) {
            return report(found.error(), inv.as_json, term);
        }
        inv.socket = std::move(*found);
    }
    if (inv.command == "status" && inv.watch) {
        const control::failure ended = watch_status(inv, term);
        return report(ended, inv.as_json, term);
    }
    const bool quiet = inv.as_json || !term.err_is_tty;
    auto answer = quiet || inv.command != "wait" ? call_with_progress(inv, *request, term)
                                                 : call_beside_status(inv, *request, term);
    if (!answer) {
        return report(answer.error(), inv.as_json, term);
    }
    if (inv.command == "promote") {
        start_promoted(*answer, term);
    }
    if (inv.command == "report" && !inv.report.html.empty()) {
        if (const auto failed = write_report_page(inv, *answer)) {
            return report(*failed, inv.as_json, term);
        }
    }
    if (inv.as_json) {
        term.out(control::to_line(*answer) + "\n");
    } else {
        print_text(inv, *answer, term);
        if (inv.command == "resync" && !quiet) {
            follow_sync(inv, term);
        }
    }
    return exit_of(inv, *answer);
}

/// Options may be wrong in ways that leave --json and the command unread.
bool mentions(const std::vector<std::string> &arguments, const char *word) {
    return std::ranges::find(arguments, word) != arguments.end();
}

} // namespace

int run_cli(cli_program program, const std::vector<std::string> &arguments, const terminal &term,
            demo_player play) {
    auto inv = parse_invocation(program, arguments);
    if (!inv) {
        const parse_end &end = inv.error();
        if (end.exit == 0) {
            term.out(end.text);
            return 0;
        }
        const bool as_json = mentions(arguments, "--json");
        if (!arguments.empty() &&
            (arguments.front() == "check" || mentions(arguments, "--max-lag") ||
             mentions(arguments, "--max-point-age") || mentions(arguments, "--max-test-age"))) {
            return report_check(judged_unreachable(check_level::unknown, end.text), as_json, term);
        }
        return report(usage_failure(end.text), as_json, term);
    }
    if (inv->command == "demo" && play != nullptr) {
        return play({inv->demo.keep, std::chrono::seconds(inv->demo.seconds), inv->as_json}, term);
    }
    exit_on_interrupt(inv->as_json, term);
    if (inv->command == "config check") {
        return run_config_check(*inv, term);
    }
    if (inv->command == "check") {
        return run_check(*inv, term);
    }
    if (is_carry_command(inv->command)) {
        return run_carried(std::move(*inv), term);
    }
    if (inv->command == "test") {
        return run_rehearsal(std::move(*inv), term);
    }
    return run_at_daemon(std::move(*inv), term);
}

} // namespace farshore
