#include "replicator/cli/report_run.hpp"

#include "replicator/carry/new_file.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/cli/report_charts.hpp"
#include "replicator/cli/report_page.hpp"
#include "replicator/cli/table.hpp"
#include "replicator/config/units.hpp"
#include "replicator/control/exit_code.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <unistd.h>

namespace farshore {
namespace {

std::string time_text(const json &document, const char *pointer, const char *otherwise) {
    const json *value = field(document, pointer);
    return value != nullptr && value->is_number() ? format_seconds(value->get<double>())
                                                  : otherwise;
}

std::string group_text(const json &g) {
    const std::string name = text_field(g, "/name", "-");
    if (const std::string why = text_field(g, "/error"); !why.empty()) {
        return fmt::format("{}: {}\n", name, why);
    }
    std::string text =
        fmt::format("{}: {} points kept ({} of applications, {} named, {} pinned), {} to {}\n",
                    name, count_field(g, "/points/count"), count_field(g, "/points/app"),
                    count_field(g, "/points/named"), count_field(g, "/points/pinned"),
                    text_field(g, "/points/oldest", "-"), text_field(g, "/points/newest", "-"));
    const std::uint64_t bad = count_field(g, "/points/suspect") + count_field(g, "/points/damaged");
    if (bad != 0) {
        text += fmt::format("  {} of them suspect or damaged\n", bad);
    }
    text += fmt::format(
        "  RPO as measured: at worst {}{}, typically {} (worst of an hour, median); "
        "watched for {}\n",
        time_text(g, "/rpo/worst_seconds", "not known"),
        text_field(g, "/rpo/worst_time").empty() ? "" : " at " + text_field(g, "/rpo/worst_time"),
        time_text(g, "/rpo/typical_seconds", "not known"),
        time_text(g, "/rpo/watched_seconds", "0 s"));
    text += fmt::format("  RTO as rehearsed: at worst {}, typically {}; {} passed, {} failed, {} "
                        "could not be run\n",
                        time_text(g, "/rto/longest_seconds", "not known"),
                        time_text(g, "/rto/typical_seconds", "not known"),
                        count_field(g, "/rto/passed"), count_field(g, "/rto/failed"),
                        count_field(g, "/rto/not_run"));
    std::vector<std::vector<std::string>> rows;
    for (const json &r : list_field(g, "/rehearsals")) {
        rows.push_back({text_field(r, "/time", "-"), text_field(r, "/test", "-"),
                        text_field(r, "/point", "-"), text_field(r, "/point_time", "-"),
                        text_field(r, "/kind", "-"), result_word(r),
                        time_text(r, "/seconds", "-")});
    }
    if (!rows.empty()) {
        text += format_table({{"REHEARSED"},
                              {"TEST"},
                              {"POINT", true},
                              {"OF"},
                              {"KIND"},
                              {"RESULT"},
                              {"TOOK", true}},
                             rows);
    }
    return text;
}

control::failure not_written(const std::string &path, const std::string &why) {
    return {"failed", fmt::format("the page was not written to {}: {}", path, why),
            value_of(exit_code::failed)};
}

result<> write_whole(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::write(fd, text.data(), text.size());
        if (n < 0 && errno != EINTR) {
            return fail_errno(errno, "writing");
        }
        text.remove_prefix(n < 0 ? 0 : static_cast<std::size_t>(n));
    }
    return {};
}

result<> write_page(const std::string &path, std::string_view page) {
    FS_TRY(file, carry::new_file::make(path, carry::existing::replace));
    FS_CHECK(write_whole(file.fd(), page));
    return file.publish();
}

} // namespace

void add_report_command(CLI::App &app, invocation &inv) {
    CLI::App *sub =
        app.add_subcommand("report", "points kept, RPO as measured, rehearsals and RTO (receiver)");
    sub->callback([&inv] { inv.command = "report"; });
    sub->add_option("GROUP", inv.group, "name of the group (default: all)")->type_name("");
    sub->add_option("--since", inv.report.since, "how far back, up to 400d")
        ->capture_default_str()
        ->type_name("TIME");
    sub->add_option("--html", inv.report.html,
                    "also write a page with charts to this file; one that is there is replaced")
        ->type_name("FILE");
}

std::string render_report(const control::json &report) {
    std::string text = fmt::format("{} to {}\n", text_field(report, "/since", "-"),
                                   text_field(report, "/time", "-"));
    for (const json &g : list_field(report, "/groups")) {
        text += group_text(g);
    }
    return text;
}

std::optional<control::failure> write_report_page(const invocation &inv,
                                                  const control::json &report) {
    const auto written = write_page(inv.report.html, report_page(report));
    return written ? std::nullopt
                   : std::optional(not_written(inv.report.html, written.error().text()));
}

} // namespace farshore
