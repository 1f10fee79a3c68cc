#include "replicator/cli/carry_options.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>

namespace farshore {
namespace {

CLI::App *begin(CLI::App &app, invocation &inv, const char *name, const char *help) {
    CLI::App *sub = app.add_subcommand(name, help);
    sub->callback([&inv, name] { inv.command = name; });
    sub->add_option("GROUP", inv.group, "name of the group")->required()->type_name("");
    return sub;
}

void add_point(CLI::App *sub, invocation &inv) {
    sub->add_option("--point", inv.point, "which point (default: latest)")->type_name("P");
    sub->add_flag("--applied", inv.applied,
                  "what the images show now, if `latest` is not applied yet");
    sub->add_flag("--suspect", inv.open.suspect,
                  "also a point whose images somebody else changed later");
}

void add_export(CLI::App &app, invocation &inv) {
    auto *sub = begin(app, inv, "export",
                      "a volume as an image of its own, or a whole group as a tar (receiver)");
    carry_words &c = inv.carry;
    sub->add_option("VOLUME", c.volume, "which volume (default: the only one, or all as a tar)")
        ->type_name("");
    add_point(sub, inv);
    sub->add_option("--to", c.to, "the new file, or - for standard output")
        ->required()
        ->type_name("FILE");
    auto *format = sub->add_option("--format", c.format, "of the image (default: raw)")
                       ->check(CLI::IsMember({"raw", "qcow2", "vmdk", "vhdx", "vdi"}))
                       ->type_name("raw|qcow2|vmdk|vhdx|vdi");
    sub->add_flag("--tar", c.tar, "a tar with its manifest also of a group of one volume")
        ->excludes(format);
    auto *since =
        sub->add_option("--since", c.since, "only what changed since this older point, as qcow2")
            ->type_name("P");
    sub->add_option("--backing", c.backing, "with --since: the earlier export that it stands on")
        ->needs(since)
        ->type_name("FILE");
    sub->add_flag("--no-compare", c.no_compare, "don't compare what was written with the point");
    sub->add_flag("--force", c.force, "replace FILE, once the new one is whole");
    sub->callback([&inv, &c] {
        inv.command = "export";
        if (c.tar && !c.volume.empty()) {
            throw CLI::ValidationError("export", "--tar is for all volumes; leave VOLUME out");
        }
        if (!c.since.empty() &&
            (c.tar || c.to == "-" || (!c.format.empty() && c.format != "qcow2"))) {
            throw CLI::ValidationError("export", "--since makes a qcow2 file of one volume");
        }
        if (c.to == "-" && !c.format.empty() && c.format != "raw") {
            throw CLI::ValidationError(
                "export", "only raw images and tar can be streamed; name a file with --to");
        }
    });
}

} // namespace

void add_carry_commands(CLI::App &app, invocation &inv) {
    add_export(app, inv);
    auto *import = begin(app, inv, "import",
                         "take an exported tar as the seed of a group without copy (receiver)");
    import->add_option("--from", inv.carry.from, "the tar, or - for standard input")
        ->required()
        ->type_name("FILE");
    auto *restore =
        begin(app, inv, "restore", "a volume onto a disk or file that is there (receiver)");
    restore->add_option("VOLUME", inv.carry.volume, "which volume")->required()->type_name("");
    add_point(restore, inv);
    restore->add_option("--to", inv.carry.to, "block device or file; it is overwritten")
        ->required()
        ->type_name("PATH");
    restore
        ->add_option("--confirm", inv.carry.confirm,
                     "the same path again, or the serial number of the device")
        ->type_name("PATH|SERIAL");
    restore
        ->add_option("--sector-size", inv.carry.sector_bytes,
                     "of the disk that a file stands for (default: 512)")
        ->check(CLI::IsMember({512, 4096}))
        ->type_name("512|4096");
    restore->add_flag("--no-compare", inv.carry.no_compare,
                      "don't compare what was written with the point");
}

bool is_carry_command(const std::string &command) {
    constexpr std::array all{"export", "import", "restore"};
    return std::ranges::find(all, command) != all.end();
}

} // namespace farshore
