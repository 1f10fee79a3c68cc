#include "replicator/cli/report_page.hpp"

#include "replicator/cli/json_fields.hpp"
#include "replicator/cli/report_charts.hpp"
#include "replicator/config/units.hpp"

#include <fmt/format.h>

#include <vector>

namespace farshore {
namespace {

// Nothing may be loaded or run, whatever a note or a message holds.
constexpr const char *head = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>Recovery report</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2430; background: #fff;
  max-width: 960px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em }
h2 { margin-top: 2em; border-bottom: 1px solid #ccd3db } h3 { margin-bottom: .3em }
dl { display: flex; flex-wrap: wrap; gap: .8em; margin: 1em 0 }
dl div { border: 1px solid #ccd3db; border-radius: 6px; padding: .5em .9em; min-width: 8em }
dt { color: #55606e; font-size: .85em } dd { margin: 0; font-size: 1.25em; font-weight: 600 }
table { border-collapse: collapse; width: 100%; font-size: .9em }
th, td { text-align: left; padding: .25em .6em .25em 0; border-bottom: 1px solid #e3e8ee;
  vertical-align: top }
td.message { white-space: pre-wrap; overflow-wrap: anywhere;
  font-family: monospace; font-size: .9em }
svg { width: 100%; height: auto }
svg text { font-size: 11px; fill: #55606e } .grid { stroke: #e3e8ee }
.good { fill: #2f7d4f } .bad { fill: #c0392b } b.bad { color: #c0392b }
footer, .small { color: #55606e; font-size: .85em }
@media (prefers-color-scheme: dark) { @media screen { body { background: #14181d; color: #dfe5ec }
  svg text, dt, footer, .small { fill: #9aa6b4; color: #9aa6b4 } .grid { stroke: #2a323c }
  .good { fill: #4fae78 } .bad { fill: #e8695b } b.bad { color: #e8695b } } }
</style>
</head>
<body>
)";

std::string time_cell(const json &document, const char *pointer) {
    const json *value = field(document, pointer);
    return value != nullptr && value->is_number() ? format_seconds(value->get<double>())
                                                  : "not known";
}

std::string tile(const char *name, const std::string &value) {
    return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value));
}

std::string tiles(const json &g) {
    const std::uint64_t passed = count_field(g, "/rto/passed");
    const std::uint64_t failed = count_field(g, "/rto/failed");
    return "<dl>" + tile("RPO at worst", time_cell(g, "/rpo/worst_seconds")) +
           tile("RPO, typical hour", time_cell(g, "/rpo/typical_seconds")) +
           tile("RTO at worst", time_cell(g, "/rto/longest_seconds")) +
           tile("RTO, typical", time_cell(g, "/rto/typical_seconds")) +
           tile("Rehearsals passed", fmt::format("{} of {}", passed, passed + failed)) +
           tile("Points kept", std::to_string(count_field(g, "/points/count"))) +
           tile("of applications", std::to_string(count_field(g, "/points/app"))) + "</dl>\n";
}

std::string result_cell(const json &rehearsal) {
    const std::string word = result_word(rehearsal);
    return flag_field(rehearsal, "/passed") ? word : "<b class=bad>" + word + "</b>";
}

std::string point_cell(const json &rehearsal) {
    const std::string point = text_field(rehearsal, "/point");
    return point.empty() ? "-" : escaped(point + " of " + text_field(rehearsal, "/point_time"));
}

std::string rehearsals(const json &g) {
    std::string out = "<h3>Rehearsals</h3>\n";
    const json &all = list_field(g, "/rehearsals");
    if (all.empty()) {
        return out + "<p><b class=bad>None in this time: nobody knows whether the copy starts."
                     "</b></p>\n";
    }
    out += rehearsal_chart(g);
    out += "<table><tr><th>When<th>Test<th>Point<th>Kind<th>Result<th>Took<th>Last words</tr>\n";
    for (const json &r : all) {
        out += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td class=message>{}</tr>\n",
                           escaped(text_field(r, "/time")), escaped(text_field(r, "/test", "-")),
                           point_cell(r), escaped(text_field(r, "/kind")), result_cell(r),
                           escaped(time_cell(r, "/seconds")), escaped(text_field(r, "/message")));
    }
    return out + "</table>\n";
}

std::string bookmarks(const json &g) {
    const json &all = list_field(g, "/bookmarks");
    if (all.empty()) {
        return "";
    }
    std::string out = "<h3>Bookmarks that are kept</h3>\n<table><tr><th>Name<th>Time<th>Kind"
                      "<th>Last rehearsal<th>Note</tr>\n";
    for (const json &p : all) {
        const json &tests = list_field(p, "/tests");
        out += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
                           escaped(text_field(p, "/name")), escaped(text_field(p, "/time")),
                           escaped(text_field(p, "/kind")),
                           tests.empty() ? "-" : result_cell(flag_field(tests.back(), "/passed")),
                           escaped(text_field(p, "/note")));
    }
    return out + "</table>\n";
}

std::string exposure(const json &g) {
    const std::string chart = exposure_chart(g);
    if (chart.empty()) {
        return "<h3>RPO as measured</h3>\n<p>The record has nothing of this time yet.</p>\n";
    }
    std::string out =
        "<h3>RPO as measured: what a loss of the primary would have cost</h3>\n" + chart;
    out += fmt::format("<p class=small>Each bar is the worst of its hour: the greatest age of the "
                       "newest good point. "
                       "At worst {} at {}. The receiver watched for {}, {} of it with a session to "
                       "the primary and {} "
                       "without any good point; hours without a bar it did not run, and the next "
                       "bar shows how old the "
                       "newest point had become meanwhile.</p>\n",
                       escaped(time_cell(g, "/rpo/worst_seconds")),
                       escaped(text_field(g, "/rpo/worst_time", "-")),
                       escaped(time_cell(g, "/rpo/watched_seconds")),
                       escaped(time_cell(g, "/rpo/connected_seconds")),
                       escaped(time_cell(g, "/rpo/without_point_seconds")));
    return out;
}

std::string section(const json &g) {
    std::string out = fmt::format("<section>\n<h2>{}</h2>\n", escaped(text_field(g, "/name", "-")));
    if (const std::string why = text_field(g, "/error"); !why.empty()) {
        return out + fmt::format("<p><b class=bad>{}</b></p>\n</section>\n", escaped(why));
    }
    out += fmt::format(
        "<p>{} points are kept, of {} to {}. State: {}.</p>\n", count_field(g, "/points/count"),
        escaped(text_field(g, "/points/oldest", "-")),
        escaped(text_field(g, "/points/newest", "-")), escaped(text_field(g, "/state", "-")));
    const std::uint64_t bad = count_field(g, "/points/suspect") + count_field(g, "/points/damaged");
    if (bad != 0) {
        out += fmt::format("<p><b class=bad>{} of them are suspect or damaged.</b></p>\n", bad);
    }
    return out + tiles(g) + exposure(g) + rehearsals(g) + bookmarks(g) + "</section>\n";
}

} // namespace

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '"':
            out += "&quot;";
            break;
        case '\'':
            out += "&#39;";
            break;
        default:
            out += static_cast<unsigned char>(c) < 0x20 && c != '\n' ? ' ' : c;
        }
    }
    return out;
}

std::string report_page(const json &report) {
    std::string out = head;
    out += fmt::format("<h1>Recovery report</h1>\n<p>{} to {}, by the DR site's clock.</p>\n",
                       escaped(text_field(report, "/since", "-")),
                       escaped(text_field(report, "/time", "-")));
    for (const json &g : list_field(report, "/groups")) {
        out += section(g);
    }
    return out + "<footer><p>RPO: the age of the newest good recovery point at the DR site, in "
                 "data that a loss of "
                 "the primary would have cost. RTO: how long a rehearsal took, from opening a "
                 "writable copy to the "
                 "script's end; what people need to decide is not in it. Made by "
                 "farshore " FARSHORE_VERSION ".</p></footer>\n</body>\n</html>\n";
}

} // namespace farshore
