#include "replicator/cli/cli_options.hpp"

#include "replicator/cli/carry_options.hpp"
#include "replicator/cli/report_run.hpp"
#include "replicator/cli/retention_options.hpp"
#include "replicator/cli/role_options.hpp"
#include "replicator/cli/test_options.hpp"
#include "replicator/config/suggest.hpp"
#include "replicator/control/exit_code.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <sstream>

namespace farshore {
namespace {

constexpr const char *footer =
    "Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 partly done, 10 no such group, volume "
    "or\n"
    "point, 11 busy, 12 not trusted, 13 would lose data or a suspect point, 14 not in sync, 15 "
    "timed\n"
    "out, 130 interrupted.\n"
    "A point P is an id, an RFC 3339 time, latest, latest-app, an age such as -5m, or a "
    "bookmark's\n"
    "name. See "
    "farshore(1).";

/// A subcommand that sets `command` when it is used.
CLI::App *verb(CLI::App &parent, invocation &inv, const char *name, const std::string &full_name,
               const char *help) {
    CLI::App *sub = parent.add_subcommand(name, help);
    sub->callback([&inv, full_name] { inv.command = full_name; });
    return sub;
}

void group_argument(CLI::App *sub, invocation &inv, bool required) {
    auto *option = sub->add_option("GROUP", inv.group, "name of the group")->type_name("");
    if (required) {
        option->required();
    }
}

void add_throttle(CLI::App &parent, invocation &inv) {
    parent.require_subcommand(1);
    auto *show = verb(parent, inv, "show", "throttle show",
                      "the limits of the daemon and of each group, and their sources");
    group_argument(show, inv, false);
    auto *set = verb(parent, inv, "set", "throttle set",
                     "limit what goes over the line, for instance to 40Mbit/s");
    set->add_option("RATE", inv.throttle.rate, "such as 40Mbit/s or 5MiB/s; unlimited for none")
        ->required()
        ->type_name("");
    set->add_option(
           "--group", inv.group,
           "this group, besides the daemon's cap (default: the daemon's whole use of the line)")
        ->type_name("GROUP");
    set->add_option("--for", inv.throttle.lasts,
                    "the override expires by itself, for instance after 2h")
        ->type_name("TIME");
    auto *clear = verb(
        parent, inv, "clear", "throttle clear",
        "take back what set made: of the daemon, or of a group (then its configured rate holds)");
    clear->add_option("--group", inv.group, "of this group (default: of the daemon)")
        ->type_name("GROUP");
}

void add_sender_commands(CLI::App &app, invocation &inv) {
    auto *wait = verb(app, inv, "wait", "wait",
                      "cut a barrier now, return when the DR site holds and shows it (sender)");
    group_argument(wait, inv, true);
    wait->add_flag("--durable", inv.durable, "return as soon as it is durable there");
    wait->add_option("--timeout", inv.timeout,
                     "give up after this time, such as 60s (default: never)")
        ->type_name("TIME");
    auto *bookmark = verb(app, inv, "bookmark", "bookmark",
                          "cut a named point, with applications still around it (sender)");
    group_argument(bookmark, inv, true);
    bookmark
        ->add_option("NAME", inv.bookmark.name, "such as before-upgrade; {time} in it is the time")
        ->required()
        ->type_name("");
    bookmark->add_flag("--app", inv.bookmark.app,
                       "freeze the group's hooks around the barrier (kind app, or exit 3)");
    bookmark->add_option("--note", inv.bookmark.note, "one line that stays with the point")
        ->type_name("TEXT");
    bookmark
        ->add_option("--keep", inv.bookmark.keep,
                     "how long the DR site keeps it (default: as long as `retain` reaches)")
        ->type_name("TIME");
    group_argument(verb(app, inv, "pause", "pause", "stop shipping; capture goes on (sender)"), inv,
                   true);
    group_argument(verb(app, inv, "resume", "resume", "ship again (sender)"), inv, true);
    auto *resync = verb(app, inv, "resync", "resync",
                        "compare with the DR copy by digests, ship what differs (sender)");
    group_argument(resync, inv, true);
    resync->add_flag("--full", inv.full, "ship everything, whatever the digests say");
    group_argument(verb(app, inv, "verify", "verify",
                        "compare both sides by digests while writes go on (sender)"),
                   inv, true);
    add_throttle(*app.add_subcommand("throttle", "limit the use of the line (sender)"), inv);
    auto *join = verb(app, inv, "join", "join", "trust the receiver that made the token (sender)");
    join->add_option("TOKEN", inv.token,
                     "what invite printed; without it, or as -, it is read from the terminal or "
                     "standard input, where no "
                     "other user sees it")
        ->type_name("");
}

void add_receiver_commands(CLI::App &app, invocation &inv) {
    auto *points = verb(app, inv, "points", "points", "the recovery points of a group (receiver)");
    group_argument(points, inv, true);
    points->add_flag("--applied", inv.applied, "don't wait until what is durable is applied");
    add_plan_options(*points, inv);
    add_retention_commands(app, inv);
    add_role_commands(app, inv);
    auto *open = verb(app, inv, "open", "open", "serve a group as of a point, by NBD (receiver)");
    group_argument(open, inv, true);
    open->add_option("--point", inv.point, "which point (default: latest)")->type_name("P");
    open->add_flag("--applied", inv.applied,
                   "what the images show now, if `latest` is not applied yet");
    open->add_flag("--suspect", inv.open.suspect,
                   "also a point whose images somebody else changed later");
    open->add_option("--since", inv.carry.since,
                     "also tell what changed since this older point (NBD contexts)")
        ->type_name("P");
    auto *writable = open->add_flag("--writable", inv.open.writable,
                                    "what is written stays beside the copy, until close");
    open->add_option("--space", inv.open.space,
                     "at most so much is written, such as 20GiB (default: 10GiB)")
        ->needs(writable)
        ->type_name("SIZE");
    open->add_option("--nbd", inv.open.nbd, "where to serve: unix:PATH or tcp:HOST:PORT")
        ->type_name("ENDPOINT");
    open->add_option("--mount", inv.open.mount, "mount each volume at DIR/VOLUME, until close")
        ->type_name("DIR");
    open->callback([&inv] {
        inv.command = "open";
        if (inv.open.nbd.empty() && inv.open.mount.empty()) {
            throw CLI::RequiredError("open: --nbd ENDPOINT or --mount DIR");
        }
    });
    verb(app, inv, "opened", "opened", "what is open (receiver)");
    auto *close = verb(app, inv, "close", "close", "close what open opened (receiver)");
    close->add_option("ID", inv.id, "what open printed")->required()->type_name("");
    auto *invite = verb(app, inv, "invite", "invite",
                        "print a token for one join, good for one hour (receiver)");
    group_argument(invite, inv, false);
    auto *address =
        invite->add_option("--address", inv.invite.address, "where senders reach this receiver")
            ->type_name("HOST:PORT");
    auto *list = invite->add_flag("--list", inv.invite.list, "the invitations that are open")
                     ->excludes(address);
    auto *revoke = invite->add_option("--revoke", inv.invite.revoke, "end one of them")
                       ->type_name("ID")
                       ->excludes(address);
    list->excludes(revoke);
    invite->callback([&inv] {
        inv.command = inv.invite.list             ? "invite --list"
                      : inv.invite.revoke.empty() ? "invite"
                                                  : "invite --revoke";
        if (inv.command != "invite" && !inv.group.empty()) {
            throw CLI::ValidationError("invite", "--list and --revoke take no GROUP");
        }
        if (inv.command == "invite" && (inv.group.empty() || inv.invite.address.empty())) {
            throw CLI::RequiredError("invite: GROUP and --address HOST:PORT");
        }
    });
}

void add_common_commands(CLI::App &app, invocation &inv) {
    auto *status =
        verb(app, inv, "status", "status", "a row a group: state, link, lag or points, last error");
    group_argument(status, inv, false);
    status->add_flag("--watch", inv.watch, "refresh every second until Ctrl-C");
    verb(app, inv, "peers", "peers", "who is trusted for which group");
    group_argument(verb(app, inv, "unpair", "unpair", "forget the trusted peer of a group"), inv,
                   true);
    auto *check = verb(app, inv, "check", "check",
                       "monitoring plugin: exit 0 ok, 1 warning, 2 critical, 3 unknown");
    group_argument(check, inv, false);
    check->add_option("--max-lag", inv.check.lag_max, "critical above (sender)")
        ->capture_default_str()
        ->type_name("TIME");
    check->add_option("--max-point-age", inv.check.point_age_max, "critical above (receiver)")
        ->capture_default_str()
        ->type_name("TIME");
    check
        ->add_option("--max-test-age", inv.check.test_age_max,
                     "critical when no rehearsal passed within this time (receiver)")
        ->type_name("TIME");
    auto *config = app.add_subcommand("config", "configuration files");
    config->require_subcommand(1);
    auto *config_check =
        verb(*config, inv, "check", "config check", "validate a file as the daemon does at start");
    config_check->add_option("FILE", inv.file, "sender.toml or receiver.toml")
        ->required()
        ->type_name("");
    auto *demo = verb(app, inv, "demo", "demo",
                      "both daemons on loopback in a temporary directory, with faults");
    demo->add_flag("--keep", inv.demo.keep, "keep the temporary directory");
    demo->add_option("--seconds", inv.demo.seconds, "how long writes go on")
        ->capture_default_str()
        ->check(CLI::Range(10U, 3600U))
        ->type_name("N");
}

/// The first word that is neither an option nor an option's value.
std::string first_word(const std::vector<std::string> &arguments) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        if (arguments[i] == "--socket" || arguments[i] == "--timeout") {
            ++i;
        } else if (!arguments[i].starts_with("-")) {
            return arguments[i];
        }
    }
    return "";
}

/// CLI11 only says that a word was not expected; name the command that was probably meant.
std::string unknown_command_text(const CLI::App &app, const std::string &word) {
    std::vector<std::string> names;
    for (const CLI::App *sub : app.get_subcommands([](const CLI::App *) { return true; })) {
        names.push_back(sub->get_name());
    }
    if (word.empty() || std::ranges::find(names, word) != names.end()) {
        return "";
    }
    const std::string near = nearest(word, names);
    return "unknown command \"" + word + "\"" +
           (near.empty() ? "." : "; did you mean \"" + near + "\"?") + " See --help.";
}

} // namespace

std::expected<invocation, parse_end> parse_invocation(cli_program program,
                                                      const std::vector<std::string> &arguments) {
    const bool throttle = program == cli_program::throttle;
    const std::string name = throttle ? "farshore-throttle" : "farshore";
    invocation inv;
    CLI::App app(throttle ? "Limits what Farshore sends over the line. Talks to the sender daemon."
                          : "Farshore: asynchronous replication of block volumes to a DR site.",
                 name);
    app.footer(footer);
    app.fallthrough();
    app.set_version_flag("--version", name + " " FARSHORE_VERSION);
    app.add_option("--socket", inv.socket,
                   "control socket of the daemon (default: the only one under /run/farshore)")
        ->type_name("PATH");
    app.add_flag("--json", inv.as_json, "one JSON document on standard output, failures too");
    app.add_option(
           "--timeout", inv.timeout,
           "how long the command may take, such as 30s (default: check and each look of "
           "--watch 10s; bookmark 60s; wait, "
           "verify, open, close and join as long as the daemon is alive; the script of test 30m; "
           "others 30s)")
        ->type_name("TIME");
    if (throttle) {
        add_throttle(app, inv);
    } else {
        app.require_subcommand(1);
        add_common_commands(app, inv);
        add_sender_commands(app, inv);
        add_receiver_commands(app, inv);
        add_carry_commands(app, inv);
        add_test_command(app, inv);
        add_report_command(app, inv);
    }
    try {
        // CLI11 takes the words from the back.
        app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::ParseError &e) {
        std::ostringstream text;
        if (app.exit(e, text, text) == 0) {
            return std::unexpected(parse_end{text.str(), 0});
        }
        std::string why = unknown_command_text(app, first_word(arguments));
        if (why.empty()) {
            why = e.what();
            std::ranges::replace(why, '\n', ' ');
        }
        return std::unexpected(parse_end{std::move(why), value_of(exit_code::usage)});
    }
    return inv;
}

} // namespace farshore
