#include "replicator/config/config_file.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/config/config_reader.hpp"
#include "replicator/config/hook_keys.hpp"
#include "replicator/config/rehearsal_keys.hpp"
#include "replicator/config/scrub_key.hpp"
#include "replicator/config/serve_keys.hpp"
#include "replicator/config/units.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/session/group_memory.hpp"
#include "transport/tls_link.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <map>
#include <sys/un.h>
#include <tuple>

namespace farshore {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr std::uint64_t store_bytes_min = limits::MiB;
constexpr std::size_t socket_path_max = sizeof(sockaddr_un::sun_path) - 1;

std::string name_of(table_reader &r) {
    auto name = r.text("name", true);
    if (name && !is_plain_name(*name)) {
        r.note_at("name", fmt::format("name \"{}\" is not valid: {}", *name, plain_name_rule));
    }
    return name.value_or("");
}

/// Notes the second use of what must be unique.
class uniqueness {
  public:
    uniqueness(std::string what) : what_(std::move(what)) {}
    void add(table_reader &r, const char *key, const std::string &value, const std::string &owner) {
        if (value.empty()) {
            return;
        }
        if (const auto [it, fresh] = seen_.emplace(value, owner); !fresh) {
            r.note_at(key, fmt::format("{} \"{}\" is used twice ({})", what_, value, it->second));
        }
    }

  private:
    std::string what_;
    std::map<std::string, std::string> seen_;
};

std::string address_of(table_reader &r, const char *key, bool required) {
    auto text = r.text(key, required);
    if (text) {
        if (auto parsed = transport::parse_address(*text); !parsed) {
            r.note_at(key, fmt::format("{} is HOST:PORT: {}", key, parsed.error().context));
        }
    }
    return text.value_or("");
}

/// An address to call: port 0 is none.
std::string peer_of(table_reader &r) {
    std::string text = address_of(r, "peer", false);
    if (const auto parsed = transport::parse_address(text);
        !text.empty() && parsed && parsed->port == 0) {
        r.note_at("peer", "peer is HOST:PORT: port 0 can't be connected to; 7420 is usual");
    }
    return text;
}

/// A name in the peer's certificate; it says something only under a site's CA.
std::string peer_name_of(table_reader &r, bool site_ca) {
    const auto name = r.text("peer_name", false);
    if (name && !site_ca) {
        r.note_at("peer_name", "peer_name needs [tls]: without a site's CA a peer is known by its "
                               "fingerprint, not by a name");
    }
    return name.value_or("");
}

std::string socket_of(table_reader &r, const char *key) {
    auto path = r.text(key, true);
    if (path && path->size() > socket_path_max) {
        r.note_at(key, fmt::format("{} is longer than the {} bytes of a socket path", key,
                                   socket_path_max));
    }
    return path.value_or("");
}

std::uint64_t size_of(table_reader &r, const char *key, std::uint64_t otherwise,
                      std::uint64_t least) {
    const auto bytes = r.parsed<std::uint64_t>(key, false, parse_size);
    if (bytes && *bytes < least) {
        r.note_at(key, fmt::format("{} is at least {}", key, format_bytes(least)));
    }
    return bytes.value_or(otherwise);
}

std::size_t size_of_array(const toml::node_view<const toml::node> &node) {
    const toml::array *array = node.as_array();
    return array != nullptr ? array->size() : 0;
}

/// At least what the file's groups need to keep the order of writes beside busy ones.
std::uint64_t memory_of(table_reader &r, const toml::table &document, std::uint64_t otherwise) {
    const std::uint64_t memory = size_of(r, "memory", otherwise, memory_min);
    const std::size_t count = size_of_array(document["group"]);
    std::size_t volumes = 0;
    for (std::size_t i = 0; i < count; ++i) {
        volumes += size_of_array(document["group"][i]["volume"]);
    }
    const std::uint64_t least = memory_min_of(count, volumes);
    if (memory >= memory_min && memory < least && count <= limits::groups_max) {
        r.note_at(
            "memory",
            fmt::format("memory of {} is too small for {} groups and {} volumes: set memory = "
                        "\"{}MiB\" or more, or serve fewer",
                        format_bytes(memory), count, volumes, ceil_div(least, limits::MiB)));
    }
    return memory;
}

std::optional<tls_files> tls_of(table_reader &root, config_problems &problems) {
    const toml::table *table = root.table("tls");
    if (table == nullptr) {
        return std::nullopt;
    }
    table_reader r(*table, "[tls]", problems);
    tls_files files;
    files.ca = r.text("ca", true).value_or("");
    files.certificate = r.text("cert", true).value_or("");
    files.key = r.text("key", true).value_or("");
    files.crl = r.text("crl", false).value_or("");
    r.finish();
    return files;
}

/// What must be unique over all groups of a file.
struct sender_names {
    uniqueness groups{"group name"};
    uniqueness paths{"path"};
    uniqueness endpoints{"NBD endpoint"};
    bool site_ca = false; ///< there is a [tls]
};

sender_volume_config sender_volume(const toml::table &table, const std::string &group,
                                   uniqueness &names, sender_names &all,
                                   config_problems &problems) {
    table_reader r(table, "[[group.volume]]", problems);
    sender_volume_config v;
    v.name = name_of(r);
    const std::string self = fmt::format("group {}, volume {}", group, v.name);
    names.add(r, "name", v.name, "in group " + group);
    v.path = r.text("path", true).value_or("");
    all.paths.add(r, "path", v.path, self);
    v.nbd = r.text("nbd", true).value_or("");
    if (!v.nbd.empty()) {
        const auto where = nbd::parse_endpoint(v.nbd);
        if (!where) {
            r.note_at("nbd", "nbd: " + where.error().context);
        } else if (where->unix_path.size() > socket_path_max) {
            r.note_at("nbd", fmt::format("nbd is longer than the {} bytes of a socket path",
                                         socket_path_max));
        } else if (!where->unix_path.empty() || where->port != 0) {
            all.endpoints.add(r, "nbd", v.nbd, self);
        }
    }
    r.finish();
    return v;
}

sender_group_config sender_group(const toml::table &table, sender_names &all,
                                 config_problems &problems) {
    table_reader r(table, "[[group]]", problems);
    sender_group_config g;
    g.name = name_of(r);
    all.groups.add(r, "name", g.name, "another [[group]]");
    g.peer = peer_of(r);
    g.peer_name = peer_name_of(r, all.site_ca);
    if (const auto interval = r.parsed<duration>("interval", false, parse_duration)) {
        if (*interval < milliseconds(10) || *interval > hours(1)) {
            r.note_at("interval", "interval is 10ms to 1h");
        }
        g.interval = *interval;
    }
    g.spool_bytes_max = size_of(r, "spool", g.spool_bytes_max, store_bytes_min);
    if (const auto history = size_of(r, "history", 0, limits::MiB); history > 0) {
        g.history_bytes = history;
    }
    g.loans = r.flag("loans").value_or(true);
    g.verify_encoding = r.flag("verify_encoding").value_or(false);
    g.rate = r.parsed<std::uint64_t>("rate", false, parse_rate);
    read_start(r, g);
    g.hooks = hooks_of(r, problems);
    g.bookmarks = bookmarks_of(r, problems);
    uniqueness names{"volume name"};
    for (const toml::table *t : r.tables("volume")) {
        g.volumes.push_back(sender_volume(*t, g.name, names, all, problems));
    }
    if (g.volumes.empty()) {
        r.note_here("[[group]] has no [[group.volume]]");
    }
    if (g.volumes.size() > limits::volumes_per_group_max) {
        r.note_here(fmt::format("a group has at most {} volumes", limits::volumes_per_group_max));
    }
    r.finish();
    return g;
}

void check_group_count(table_reader &root, const toml::table &document, std::size_t count) {
    const toml::node *groups = document.get("group");
    if (count == 0 && (groups == nullptr || groups->is_array())) {
        root.note_here("no [[group]] is configured");
    }
    if (count > limits::groups_max) {
        root.note_here(fmt::format("a daemon has at most {} groups", limits::groups_max));
    }
}

sender_config read_sender(const toml::table &document, config_problems &problems) {
    table_reader root(document, "the file", problems);
    sender_config c;
    if (const toml::table *table = root.table("sender")) {
        table_reader r(*table, "[sender]", problems);
        c.state = r.text("state", true).value_or("");
        c.control = socket_of(r, "control");
        c.http = address_of(r, "http", false);
        c.memory_bytes_max = memory_of(r, document, c.memory_bytes_max);
        if (const auto links = r.integer("links", 1, limits::data_links_max)) {
            c.links = static_cast<std::uint32_t>(*links);
        }
        r.finish();
    }
    c.tls = tls_of(root, problems);
    sender_names all;
    all.site_ca = c.tls.has_value();
    for (const toml::table *t : root.tables("group")) {
        c.groups.push_back(sender_group(*t, all, problems));
    }
    check_group_count(root, document, c.groups.size());
    root.finish();
    return c;
}

std::vector<retain_rule> retain_of(table_reader &r, config_problems &problems) {
    const auto texts = r.texts("retain");
    if (!texts) {
        return {{duration::zero(), hours(1), "all 1h"},
                {std::chrono::minutes(1), hours(24), "1m 24h"},
                {hours(1), hours(24 * 7), "1h 7d"}};
    }
    std::vector<retain_rule> rules;
    if (texts->size() > limits::retain_rules_max) {
        note(problems, (*texts)[limits::retain_rules_max].where,
             fmt::format("retain: at most {} rules", limits::retain_rules_max));
        return rules;
    }
    for (const auto &t : *texts) {
        if (auto rule = parse_retain(t.text)) {
            rules.push_back({rule->spacing, rule->age, t.text});
        } else {
            note(problems, t.where, "retain: " + rule.error().context);
        }
    }
    return rules;
}

void read_targets(table_reader &r, receiver_group_config &g, uniqueness &paths,
                  config_problems &problems) {
    const toml::table *table = r.table("target");
    if (table == nullptr) {
        return;
    }
    table_reader targets(*table, "[group.target]", problems);
    for (const auto &[key, value] : *table) {
        const std::string volume(key.str());
        if (!is_plain_name(volume)) {
            note(problems, key.source(),
                 fmt::format("volume name \"{}\" is not valid: {}", volume, plain_name_rule));
        }
        if (auto path = targets.text(volume.c_str(), true)) {
            paths.add(targets, volume.c_str(), *path, "volume of group " + g.name);
            g.targets.emplace_back(volume, std::move(*path));
        }
    }
}

/// [group.volumes] name = size: what a sender may have made, exactly.
void read_volumes(table_reader &r, receiver_group_config &g, config_problems &problems) {
    const toml::table *table = r.table("volumes");
    if (table == nullptr) {
        return;
    }
    table_reader volumes(*table, "[group.volumes]", problems);
    for (const auto &[key, value] : *table) {
        const std::string volume(key.str());
        if (!is_plain_name(volume)) {
            note(problems, key.source(),
                 fmt::format("volume name \"{}\" is not valid: {}", volume, plain_name_rule));
        }
        g.volumes.emplace_back(volume, size_of(volumes, volume.c_str(), 0, 1));
    }
}

receiver_group_config receiver_group(const toml::table &table, uniqueness &groups,
                                     uniqueness &paths, bool site_ca,
                                     std::optional<duration> scrub_every,
                                     config_problems &problems) {
    table_reader r(table, "[[group]]", problems);
    receiver_group_config g;
    g.name = name_of(r);
    groups.add(r, "name", g.name, "another [[group]]");
    g.peer_name = peer_name_of(r, site_ca);
    g.replica = r.text("replica", false).value_or("");
    paths.add(r, "replica", g.replica, "another group's replica");
    read_targets(r, g, paths, problems);
    if (g.replica.empty() && g.targets.empty()) {
        r.note_here("[[group]] needs \"replica\" (a directory) or [group.target]");
    }
    g.journal_bytes_max = size_of(r, "journal", g.journal_bytes_max, store_bytes_min);
    g.retain = retain_of(r, problems);
    read_volumes(r, g, problems);
    if (const auto most = r.integer("volumes_max", 1, limits::volumes_per_group_max)) {
        g.volumes_max = static_cast<std::uint32_t>(*most);
    }
    g.size_max = size_of(r, "size_max", g.size_max, 1);
    g.loans = r.flag("loans").value_or(true);
    g.scrub_every = scrub_of(r, scrub_every);
    read_serve(r, g);
    g.tests = tests_of(r, problems);
    g.start = start_steps_of(r, problems);
    r.finish();
    return g;
}

receiver_config read_receiver(const toml::table &document, config_problems &problems) {
    table_reader root(document, "the file", problems);
    receiver_config c;
    std::optional<duration> scrub_every = scrub_every_default;
    if (const toml::table *table = root.table("receiver")) {
        table_reader r(*table, "[receiver]", problems);
        c.state = r.text("state", true).value_or("");
        c.listen = address_of(r, "listen", true);
        c.control = socket_of(r, "control");
        c.http = address_of(r, "http", false);
        c.memory_bytes_max = memory_of(r, document, c.memory_bytes_max);
        scrub_every = scrub_of(r, scrub_every);
        r.finish();
    }
    c.tls = tls_of(root, problems);
    uniqueness groups{"group name"};
    uniqueness paths{"path"};
    for (const toml::table *t : root.tables("group")) {
        c.groups.push_back(
            receiver_group(*t, groups, paths, c.tls.has_value(), scrub_every, problems));
    }
    check_group_count(root, document, c.groups.size());
    root.finish();
    return c;
}

config_problems at_start(std::string what) { return {{1, 1, std::move(what)}}; }

config_result<toml::table> parse_toml(std::string_view text) {
    if (text.size() > limits::config_bytes_max) {
        return std::unexpected(at_start(
            fmt::format("the file is larger than {}", format_bytes(limits::config_bytes_max))));
    }
    toml::parse_result parsed = toml::parse(text);
    if (!parsed) {
        config_problems problems;
        note(problems, parsed.error().source(), std::string(parsed.error().description()));
        return std::unexpected(std::move(problems));
    }
    return std::move(parsed).table();
}

template <class T>
config_result<T> finish(T config, config_problems problems) {
    if (problems.empty()) {
        return config;
    }
    std::ranges::sort(problems, {},
                      [](const config_problem &p) { return std::tie(p.line, p.column, p.what); });
    return std::unexpected(std::move(problems));
}

enum class kind : std::uint8_t { sender, receiver };

config_result<kind> kind_of(const toml::table &document) {
    const bool sender = document.contains("sender");
    const bool receiver = document.contains("receiver");
    if (sender && receiver) {
        config_problems problems;
        note(problems, document.get("receiver")->source(),
             "a file has [sender] or [receiver], not both");
        return std::unexpected(std::move(problems));
    }
    if (!sender && !receiver) {
        return std::unexpected(at_start("the file has neither [sender] nor [receiver]"));
    }
    return sender ? kind::sender : kind::receiver;
}

} // namespace

std::string to_text(const std::string &file, const config_problems &problems) {
    std::string text;
    for (const config_problem &p : problems) {
        text += fmt::format("{}:{}:{}: {}\n", file, p.line, p.column, p.what);
    }
    return text;
}

config_result<any_config> parse_config(std::string_view text) {
    auto document = parse_toml(text);
    if (!document) {
        return std::unexpected(std::move(document).error());
    }
    const auto k = kind_of(*document);
    if (!k) {
        return std::unexpected(k.error());
    }
    config_problems problems;
    if (*k == kind::sender) {
        any_config c = read_sender(*document, problems);
        return finish(std::move(c), std::move(problems));
    }
    any_config c = read_receiver(*document, problems);
    return finish(std::move(c), std::move(problems));
}

namespace {

template <class T>
config_result<T> parse_one(std::string_view text, const char *wanted, const char *found) {
    auto any = parse_config(text);
    if (!any) {
        return std::unexpected(std::move(any).error());
    }
    if (T *config = std::get_if<T>(&*any)) {
        return std::move(*config);
    }
    return std::unexpected(at_start(
        fmt::format("this is a file for farshore-{}, not for farshore-{}", found, wanted)));
}

} // namespace

config_result<sender_config> parse_sender_config(std::string_view text) {
    return parse_one<sender_config>(text, "sender", "receiver");
}

config_result<receiver_config> parse_receiver_config(std::string_view text) {
    return parse_one<receiver_config>(text, "receiver", "sender");
}

config_result<std::string> read_config_file(const std::string &file) {
    const unique_fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return std::unexpected(
            at_start("the file can't be opened: " + std::generic_category().message(errno)));
    }
    std::string text(limits::config_bytes_max + 1, '\0');
    std::size_t used = 0;
    while (used < text.size()) {
        const ssize_t n = ::read(fd.get(), text.data() + used, text.size() - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return std::unexpected(
                at_start("the file can't be read: " + std::generic_category().message(errno)));
        }
        if (n == 0) {
            break;
        }
        used += static_cast<std::size_t>(n);
    }
    text.resize(used);
    return text;
}

} // namespace farshore
