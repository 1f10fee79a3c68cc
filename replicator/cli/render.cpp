#include "replicator/cli/render.hpp"

#include "replicator/cli/json_fields.hpp"
#include "replicator/cli/table.hpp"
#include "replicator/config/units.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

using row = std::vector<std::string>;

/// An id: text or a number.
std::string id_text(const json *value) {
    if (value == nullptr || value->is_null()) {
        return "-";
    }
    return value->is_string() ? value->get<std::string>() : value->dump();
}

std::string barrier_text(const json &group, const char *pointer) {
    const json *b = field(group, pointer);
    if (b == nullptr || !b->is_object()) {
        return "-";
    }
    return fmt::format("{} {}", id_text(field(*b, "/id")), text_field(*b, "/time", "-"));
}

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

const json *group_named(const json &status, const std::string &name) {
    for (const json &g : list_field(status, "/groups")) {
        if (text_field(g, "/name") == name) {
            return &g;
        }
    }
    return nullptr;
}

std::string throughput(const json &group, const json &before, double seconds) {
    const json *old = before.is_null() ? nullptr : group_named(before, text_field(group, "/name"));
    const std::uint64_t now_bytes = count_field(group, "/bytes/wire");
    if (old == nullptr || seconds <= 0 || count_field(*old, "/bytes/wire") > now_bytes) {
        const double syncing = number_field(group, "/sync/bytes_per_second");
        return syncing > 0 ? format_rate(syncing) : "-";
    }
    const auto moved = static_cast<double>(now_bytes - count_field(*old, "/bytes/wire"));
    return format_rate(moved / seconds);
}

std::string sync_text(const json &group) {
    const std::uint64_t total = count_field(group, "/sync/total_bytes");
    if (total == 0) {
        return "-";
    }
    const std::uint64_t done = std::min(count_field(group, "/sync/done_bytes"), total);
    const double eta = number_field(group, "/sync/eta_seconds", -1);
    return fmt::format("{:.0f} %{}", 100.0 * static_cast<double>(done) / static_cast<double>(total),
                       eta > 0 ? " ETA " + format_seconds(eta) : "");
}

std::string link_text(const json &group) { return flag_field(group, "/connected") ? "up" : "down"; }

/// While something written has yet to be sent, what was sent says nothing about it.
std::string saved_text(const json &group) {
    if (text_field(group, "/state") != "streaming") {
        return "-";
    }
    return render_saved(count_field(group, "/bytes/written"), count_field(group, "/bytes/wire"));
}

/// The error, else what will be one.
std::string trouble_text(const json &group) {
    std::string text = text_field(group, "/error");
    for (const json &w : list_field(group, "/warnings")) {
        if (w.is_string()) {
            text += (text.empty() ? "warning: " : "; ") + w.get<std::string>();
        }
    }
    return or_dash(text);
}

std::string render_sender(const json &status, const json &before, double seconds) {
    std::vector<row> rows;
    for (const json &g : list_field(status, "/groups")) {
        rows.push_back({text_field(g, "/name", "-"), "sender", text_field(g, "/state", "-"),
                        link_text(g), format_seconds(number_field(g, "/lag/seconds")),
                        format_bytes(count_field(g, "/lag/bytes")),
                        std::to_string(count_field(g, "/lag/intervals")), sync_text(g),
                        barrier_text(g, "/durable_barrier"), throughput(g, before, seconds),
                        saved_text(g), trouble_text(g)});
    }
    return format_table({{"GROUP"},
                         {"ROLE"},
                         {"STATE"},
                         {"LINK"},
                         {"LAG", true},
                         {"BEHIND", true},
                         {"INTERVALS", true},
                         {"SYNC", true},
                         {"DURABLE AT DR"},
                         {"THROUGHPUT", true},
                         {"SAVED", true},
                         {"LAST ERROR"}},
                        rows);
}

std::string render_receiver(const json &status, const json &before, double seconds) {
    std::vector<row> rows;
    for (const json &g : list_field(status, "/groups")) {
        rows.push_back(
            {text_field(g, "/name", "-"), "receiver", text_field(g, "/state", "-"), link_text(g),
             barrier_text(g, "/applied_barrier"), barrier_text(g, "/durable_barrier"),
             std::to_string(count_field(g, "/points")), text_field(g, "/oldest_point/time", "-"),
             fmt::format("{} of {}", format_bytes(count_field(g, "/journal/used_bytes")),
                         format_bytes(count_field(g, "/journal/limit_bytes"))),
             throughput(g, before, seconds), trouble_text(g)});
    }
    return format_table({{"GROUP"},
                         {"ROLE"},
                         {"STATE"},
                         {"LINK"},
                         {"APPLIED"},
                         {"DURABLE"},
                         {"POINTS", true},
                         {"OLDEST POINT"},
                         {"JOURNAL", true},
                         {"THROUGHPUT", true},
                         {"LAST ERROR"}},
                        rows);
}

} // namespace

std::string render_saved(std::uint64_t written, std::uint64_t wire) {
    if (written == 0 || wire > written) {
        return "-";
    }
    return fmt::format("{:.0f} %",
                       100.0 * static_cast<double>(written - wire) / static_cast<double>(written));
}

std::string render_status(const json &status, const json &before, double seconds) {
    return text_field(status, "/role") == "receiver" ? render_receiver(status, before, seconds)
                                                     : render_sender(status, before, seconds);
}

std::string render_bookmark(const std::string &group, const json &bookmark) {
    const std::string kind = text_field(bookmark, "/kind");
    std::string text =
        fmt::format("{}: bookmark {} of {}, kind {}; {}\n", group, text_field(bookmark, "/name"),
                    text_field(bookmark, "/time"), kind,
                    flag_field(bookmark, "/durable")
                        ? "the DR site shows it"
                        : "the DR site can't be reached and gets it with the backlog");
    for (const json &h : list_field(bookmark, "/hooks")) {
        const double ms = h.value("freeze_ms", 0.0);
        const std::string why = text_field(h, "/message");
        text += fmt::format("  {} ({}): {}, {:.0f} ms{}{}\n", text_field(h, "/name"),
                            text_field(h, "/type"), flag_field(h, "/ok") ? "ok" : "NOT ok", ms,
                            why.empty() ? "" : ": ", why);
    }
    return text;
}

std::string render_plan(const json &plan) {
    const auto row_of = [&](const char *what, const std::string &at) -> row {
        return {what, std::to_string(count_field(plan, (at + "/points").c_str())),
                or_dash(text_field(plan, (at + "/oldest_point/time").c_str())),
                format_bytes(count_field(plan, (at + "/used_bytes").c_str()))};
    };
    std::string text = format_table({{""}, {"POINTS", true}, {"OLDEST"}, {"SPACE", true}},
                                    {row_of("now", "/now"), row_of("then", "/then")});
    text +=
        fmt::format("{} points would go; the limit is {}{}\n", count_field(plan, "/dropped_points"),
                    format_bytes(count_field(plan, "/limit_bytes")),
                    flag_field(plan, "/fits")
                        ? ""
                        : ", which what is pinned, open or newest does not keep: it would be "
                          "refused to grow");
    return text;
}

namespace {
/// What keeps a point.
std::string kept_text(const json &point) {
    std::string text;
    for (const json &by : list_field(point, "/kept_by")) {
        text += (text.empty() ? "" : ", ") + id_text(&by);
    }
    return or_dash(std::move(text));
}
} // namespace

namespace {
/// How the last rehearsal on a point ended.
std::string test_text(const json &point) {
    const json &all = list_field(point, "/tests");
    if (all.empty()) {
        return "-";
    }
    return fmt::format("{} {}", flag_field(all.back(), "/passed") ? "passed" : "FAILED",
                       text_field(all.back(), "/time"));
}
} // namespace

std::string render_points(const json &points) {
    std::vector<row> rows;
    for (const json &p : list_field(points, "/points")) {
        rows.push_back(
            {id_text(field(p, "/id")), text_field(p, "/time", "-"),
             flag_field(p, "/suspect")   ? "suspect"
             : flag_field(p, "/damaged") ? "damaged"
                                         : text_field(p, "/kind", "-"),
             or_dash(text_field(p, "/name")), format_bytes(count_field(p, "/size_bytes")),
             flag_field(p, "/pinned") ? "yes" : "no", kept_text(p),
             or_dash(text_field(p, "/until")), test_text(p), or_dash(text_field(p, "/note"))});
    }
    return format_table({{"ID", true},
                         {"TIME"},
                         {"KIND"},
                         {"NAME"},
                         {"SIZE", true},
                         {"PINNED"},
                         {"KEPT BY"},
                         {"UNTIL"},
                         {"TEST"},
                         {"NOTE"}},
                        rows);
}

std::string render_peers(const json &peers) {
    std::vector<row> rows;
    for (const json &p : list_field(peers, "/peers")) {
        rows.push_back({text_field(p, "/group", "-"), or_dash(text_field(p, "/address")),
                        link_text(p), or_dash(text_field(p, "/fingerprint"))});
    }
    return format_table({{"GROUP"}, {"ADDRESS"}, {"LINK"}, {"FINGERPRINT"}}, rows);
}

std::string render_invitations(const json &invitations) {
    std::vector<row> rows;
    for (const json &i : list_field(invitations, "/invitations")) {
        rows.push_back({text_field(i, "/id", "-"), text_field(i, "/group", "-"),
                        text_field(i, "/expires", "-")});
    }
    return format_table({{"ID"}, {"GROUP"}, {"EXPIRES"}}, rows);
}

std::string render_throttle(const json &throttle) {
    const auto row_of = [](const std::string &name, const json &entry) -> row {
        const json *limit = field(entry, "/limit_bytes_per_second");
        const bool limited = limit != nullptr && limit->is_number();
        return {name, limited ? format_rate(limit->get<double>()) : "unlimited",
                text_field(entry, "/source", "-"), text_field(entry, "/until", "-")};
    };
    std::vector<row> rows;
    if (const json *daemon = field(throttle, "/daemon")) {
        rows.push_back(row_of("(all together)", *daemon));
    }
    for (const json &g : list_field(throttle, "/groups")) {
        rows.push_back(row_of(text_field(g, "/name", "-"), g));
    }
    return format_table({{"GROUP"}, {"LIMIT", true}, {"SOURCE"}, {"UNTIL"}}, rows);
}

namespace {

/// What a point is reached by, volume by volume.
std::vector<std::pair<std::string, std::string>> places_of(const json &opened) {
    std::vector<std::pair<std::string, std::string>> places;
    for (const char *kind : {"/uris", "/mounts"}) {
        const json *all = field(opened, kind);
        if (all != nullptr && all->is_object()) {
            for (const auto &[volume, place] : all->items()) {
                places.emplace_back(volume, id_text(&place));
            }
        }
    }
    return places;
}

/// "1.0 MiB of 10.0 GiB"; "no" of one that is read-only.
std::string written_text(const json &opened) {
    if (!flag_field(opened, "/writable")) {
        return "no";
    }
    return format_bytes(count_field(opened, "/space/used_bytes")) + " of " +
           format_bytes(count_field(opened, "/space/limit_bytes"));
}

} // namespace

std::string render_opened(const json &opened) {
    std::vector<row> rows;
    for (const json &o : list_field(opened, "/opened")) {
        auto places = places_of(o);
        if (places.empty()) {
            places.emplace_back("-", text_field(o, "/mount", "-"));
        }
        for (const auto &[volume, place] : places) {
            rows.push_back({id_text(field(o, "/id")), text_field(o, "/group", "-"),
                            id_text(field(o, "/point")), written_text(o), volume, place,
                            text_field(o, "/error", "-")});
        }
    }
    return format_table(
        {{"ID"}, {"GROUP"}, {"POINT"}, {"WRITABLE"}, {"VOLUME"}, {"WHERE"}, {"ERROR"}}, rows);
}

std::string render_open(const json &opened) {
    std::string text = id_text(field(opened, "/id")) + "\n";
    for (const auto &[volume, place] : places_of(opened)) {
        text += volume + " " + place + "\n";
    }
    return text;
}

std::string render_verify(const json &verify) {
    std::vector<row> rows;
    for (const json &d : list_field(verify, "/differences")) {
        rows.push_back({text_field(d, "/volume", "-"), std::to_string(count_field(d, "/offset")),
                        std::to_string(count_field(d, "/length"))});
    }
    const std::string at = fmt::format("{} at barrier {}", text_field(verify, "/group", "-"),
                                       id_text(field(verify, "/barrier")));
    if (flag_field(verify, "/equal")) {
        return at + ": equal\n";
    }
    return at + ": different\n" +
           format_table({{"VOLUME"}, {"OFFSET", true}, {"LENGTH", true}}, rows);
}

std::string render_scrub(const json &scrub) {
    const std::uint64_t count = count_field(scrub, "/damaged_count");
    std::string text =
        fmt::format("{}: {} read, {}\n", text_field(scrub, "/group", "-"),
                    format_bytes(count_field(scrub, "/read_bytes")),
                    count == 0 ? "nothing damaged" : fmt::format("{} damaged piece(s)", count));
    if (count == 0) {
        return text;
    }
    std::vector<row> rows;
    for (const json &d : list_field(scrub, "/damaged")) {
        rows.push_back({text_field(d, "/what", "-"), or_dash(text_field(d, "/volume")),
                        std::to_string(count_field(d, "/offset")),
                        std::to_string(count_field(d, "/length")),
                        std::to_string(count_field(d, "/point_count"))});
    }
    return text +
           format_table(
               {{"WHAT"}, {"VOLUME"}, {"OFFSET", true}, {"LENGTH", true}, {"POINTS", true}}, rows);
}

} // namespace farshore
