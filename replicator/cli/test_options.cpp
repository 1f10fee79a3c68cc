#include "replicator/cli/test_options.hpp"

#include <CLI/CLI.hpp>

namespace farshore {

void add_test_command(CLI::App &app, invocation &inv) {
    test_words &t = inv.test;
    CLI::App *sub = app.add_subcommand(
        "test", "a rehearsal: run a script on a writable copy of a point (receiver)");
    sub->callback([&inv] { inv.command = "test"; });
    sub->add_option("GROUP", inv.group, "name of the group")->required()->type_name("");
    sub->add_option("--point", inv.point, "which point, or latest-app (default: latest)")
        ->type_name("P");
    sub->add_flag("--applied", inv.applied,
                  "what the images show now, if `latest` is not applied yet");
    sub->add_flag("--suspect", inv.open.suspect,
                  "also a point whose images somebody else changed later");
    sub->add_option("--run", t.run, "the script; exit code 0 is passed")
        ->required()
        ->type_name("SCRIPT");
    sub->add_option("--arg", t.arguments, "an argument for it; may be given again")
        ->allow_extra_args(false) // one each time
        ->type_name("TEXT");
    sub->add_option("--name", t.name, "what the result is noted under")->type_name("NAME");
    sub->add_flag("--isolate", t.isolate, "in a network of its own, with nothing but lo");
    sub->add_flag("--mount", t.mount, "also mount the volumes for it");
    sub->add_option("--space", inv.open.space,
                    "at most so much is written, such as 20GiB (default: 10GiB)")
        ->type_name("SIZE");
    sub->add_option("--user", t.user, "run it as this user (default: who runs this)")
        ->type_name("USER");
}

} // namespace farshore
