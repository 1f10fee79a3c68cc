#include "replicator/cli/retention_options.hpp"

#include "replicator/config/units.hpp"
#include "replicator/control/exit_code.hpp"

#include <CLI/CLI.hpp>

namespace farshore {
namespace {

void keep_verb(CLI::App &app, invocation &inv, const char *name, const char *help) {
    CLI::App *sub = app.add_subcommand(name, help);
    sub->callback([&inv, name] { inv.command = name; });
    sub->add_option("GROUP", inv.group, "name of the group")->required()->type_name("");
    sub->add_option("--point", inv.point, "which point")->required()->type_name("P");
}

} // namespace

void add_retention_commands(CLI::App &app, invocation &inv) {
    keep_verb(app, inv, "pin",
              "keep a point until it is unpinned, whatever `retain` says (receiver)");
    keep_verb(app, inv, "unpin", "let `retain` and space decide about a point again (receiver)");
    keep_verb(app, inv, "forget", "drop a point now (receiver)");
    CLI::App *scrub = app.add_subcommand(
        "scrub", "read journal, history and images, compare with the primary (receiver)");
    scrub->callback([&inv] { inv.command = "scrub"; });
    scrub->add_option("GROUP", inv.group, "name of the group")->required()->type_name("");
    scrub->add_flag("--wait", inv.wait, "return when it is over, with what is damaged");
}

void add_plan_options(CLI::App &points, invocation &inv) {
    auto *plan =
        points.add_flag("--plan", inv.plan.asked,
                        "what retention would do now, or with other settings; changes nothing");
    points.add_option("--retain", inv.plan.retain, "with --plan: rules such as \"all 1h,1m 24h\"")
        ->type_name("R,..")
        ->needs(plan);
    points.add_option("--journal", inv.plan.journal, "with --plan: space such as 100GiB")
        ->type_name("SIZE")
        ->needs(plan);
}

std::expected<control_request, control::failure> plan_request(const invocation &inv) {
    control::json args{{"group", inv.group}};
    if (!inv.plan.retain.empty()) {
        args["retain"] = inv.plan.retain;
    }
    if (!inv.plan.journal.empty()) {
        const auto bytes = parse_size(inv.plan.journal);
        if (!bytes) {
            return std::unexpected(usage_failure("--journal: " + bytes.error().context));
        }
        args["journal_bytes"] = *bytes;
    }
    return control_request{"plan", std::move(args)};
}

} // namespace farshore
