#include "replicator/cli/role_options.hpp"

#include "replicator/cli/cli_request.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/control/exit_code.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace farshore {
namespace {

CLI::App *role_verb(CLI::App &app, invocation &inv, const char *name, const char *help,
                    bool confirmed) {
    CLI::App *sub = app.add_subcommand(name, help);
    sub->callback([&inv, name] { inv.command = name; });
    sub->add_option("GROUP", inv.group, "name of the group")->required()->type_name("");
    if (confirmed) {
        sub->add_option("--confirm", inv.role.confirm, "the group's name once more")
            ->required()
            ->type_name("GROUP");
    }
    return sub;
}

std::expected<control_request, control::failure> switchover_request(const invocation &inv) {
    if (inv.role.confirmed != inv.role.groups) {
        return std::unexpected(usage_failure(
            "--confirm has to say the names of the groups once more, in their order, since clients "
            "depend on them"));
    }
    control::json args{{"groups", inv.role.groups}, {"confirm", inv.role.confirmed}};
    if (!inv.timeout.empty()) {
        const auto ms = milliseconds_of("--timeout", inv.timeout);
        if (!ms) {
            return std::unexpected(ms.error());
        }
        args["timeout_ms"] = *ms;
    }
    return control_request{"switchover", std::move(args)};
}

} // namespace

void add_role_commands(CLI::App &app, invocation &inv) {
    CLI::App *promote = role_verb(app, inv, "promote",
                                  "failover: serve the group's volumes from here (receiver)", true);
    promote->add_option("--point", inv.point, "which point; without it the newest")->type_name("P");
    promote->add_flag("--force", inv.role.force,
                      "although the primary is connected and lives: its clients get errors");
    role_verb(app, inv, "commit", "a promotion is for good: the time before it may go (receiver)",
              false);
    CLI::App *demote = role_verb(app, inv, "demote", "take a promotion back (receiver)", true);
    demote
        ->add_flag("--discard", inv.role.discard,
                   "what clients wrote here since is kept as a point, and the copy follows again")
        ->required();
    CLI::App *reverse = role_verb(
        app, inv, "reverse",
        "a fenced site follows: what it alone has is kept as a point (either daemon)", true);
    reverse
        ->add_option("--keep", inv.role.keep,
                     "there: also when the sites refuse each other; what counts is at the other")
        ->check(CLI::IsMember({"there", "here"}))
        ->type_name("there|here");
    CLI::App *over = app.add_subcommand(
        "switchover", "planned: the other site serves from here on, nothing is lost (who serves)");
    over->callback([&inv] { inv.command = "switchover"; });
    over->add_option("GROUP", inv.role.groups, "one or more, checked and held as one")
        ->required()
        ->type_name("");
    over->add_option("--confirm", inv.role.confirmed, "the same names once more")
        ->required()
        ->type_name("GROUP...");
    over->add_option("--timeout", inv.timeout, "until the other site is close behind (60s)")
        ->type_name("TIME");
}

bool is_role_command(const std::string &command) {
    return command == "promote" || command == "commit" || command == "demote" ||
           command == "reverse" || command == "switchover";
}

std::expected<control_request, control::failure> role_request(const invocation &inv) {
    if (inv.command == "switchover") {
        return switchover_request(inv);
    }
    control::json args{{"group", inv.group}};
    if (inv.command != "commit") {
        if (inv.role.confirm != inv.group) {
            return std::unexpected(
                usage_failure(fmt::format("--confirm says \"{}\" and the group is \"{}\": the name "
                                          "is said twice, since clients depend on it",
                                          inv.role.confirm, inv.group)));
        }
        args["confirm"] = inv.role.confirm;
    }
    if (!inv.role.keep.empty()) {
        args["keep"] = inv.role.keep;
    }
    if (inv.command == "promote") {
        args["force"] = inv.role.force;
        if (!inv.point.empty()) {
            args["point"] = inv.point;
        }
    }
    return control_request{inv.command, std::move(args)};
}

namespace {

std::string switchover_text(const control::json &d) {
    std::string text;
    for (const control::json &g : list_field(d, "/switched_over")) {
        text += fmt::format("{}: the other site serves, generation {}, from point {} on; clients "
                            "here waited {} ms\n",
                            text_field(g, "/group"), text_field(g, "/generation"),
                            text_field(g, "/point"), count_field(g, "/held_ms"));
    }
    return text + "this site follows; `farshore switchover` there brings the role back\n";
}

std::string promote_text(const control::json &d) {
    const std::string group = text_field(d, "/group");
    if (text_field(d, "/point").empty()) {
        return fmt::format("{}: serves, generation {}\n", group, text_field(d, "/generation"));
    }
    std::string text = fmt::format(
        "{}: promoted, generation {}, from point {} of {} on. {}\n", group,
        text_field(d, "/generation"), text_field(d, "/point"), text_field(d, "/time"),
        flag_field(d, "/nothing_lost") ? "By the primary's last word nothing is missing"
                                       : "What was written at the primary after that is not here");
    for (const control::json &v : list_field(d, "/volumes")) {
        text += fmt::format("{}  {}\n", text_field(v, "/volume"), text_field(v, "/nbd"));
    }
    if (const std::string step = text_field(d, "/start_failed/name"); !step.empty()) {
        text += fmt::format("NOT started: {}: {}; nothing behind it was. The volumes are served\n",
                            step, text_field(d, "/start_failed/message"));
    }
    return text + fmt::format("`farshore commit {0}` makes it final, `farshore demote {0} "
                              "--discard --confirm {0}` takes it back\n",
                              group);
}

} // namespace

std::string role_text(const std::string &command, const control::json &d) {
    return command == "promote" ? promote_text(d) : switchover_text(d);
}

} // namespace farshore
