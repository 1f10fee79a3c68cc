#include "replicator/config/hook_keys.hpp"

#include "replicator/base/plain_name.hpp"
#include "replicator/config/schedule_keys.hpp"
#include "replicator/config/suggest.hpp"
#include "replicator/config/units.hpp"
#include "replicator/format/point_label.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace farshore {
namespace {

constexpr duration timeout_min = std::chrono::milliseconds(100);
constexpr duration timeout_max = std::chrono::minutes(10);
constexpr std::size_t words_max = 64;     ///< of `run`
constexpr std::size_t bookmarks_max = 16; ///< schedules of a group
constexpr duration every_min = std::chrono::seconds(10);

/// The one key that says what a type is about.
struct hook_type {
    const char *name;
    const char *key;
    std::string hook_config::*field; ///< null: `run`
};
constexpr std::array hook_types{
    hook_type{"postgresql", "connect", &hook_config::connect},
    hook_type{"mariadb", "connect", &hook_config::connect},
    hook_type{"mysql", "connect", &hook_config::connect},
    hook_type{"redis", "connect", &hook_config::connect},
    hook_type{"filesystem", "mount", &hook_config::mount},
    hook_type{"qemu-guest-agent", "socket", &hook_config::socket},
    hook_type{"sqlite", "file", &hook_config::file},
    hook_type{"script", "run", nullptr},
};

const hook_type *type_of(table_reader &r) {
    const auto type = r.text("type", true);
    if (!type) {
        return nullptr;
    }
    const auto at =
        std::ranges::find_if(hook_types, [&](const hook_type &t) { return *type == t.name; });
    if (at != hook_types.end()) {
        return at;
    }
    std::vector<std::string> names;
    std::string all;
    for (const hook_type &t : hook_types) {
        names.emplace_back(t.name);
        all += (all.empty() ? "" : ", ") + names.back();
    }
    const std::string near = nearest(*type, names);
    r.note_at("type", fmt::format("type \"{}\" is not one of {}{}", *type, all,
                                  near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    return nullptr;
}

void read_run(table_reader &r, hook_config &hook) {
    const auto words = r.texts("run");
    if (!words || words->empty() || words->size() > words_max) {
        r.note_at("run", fmt::format("run is the program and its arguments, such as run = "
                                     "[\"/etc/farshore/freeze.sh\"], at most {} words",
                                     words_max));
        return;
    }
    for (const auto &w : *words) {
        hook.run.push_back(w.text);
    }
    if (hook.run.front().front() != '/') {
        r.note_at("run", "run: the program's path is absolute, since a daemon has no directory");
    }
    hook.user = r.text("user", false).value_or("");
}

hook_config hook_of(const toml::table &table, config_problems &problems) {
    table_reader r(table, "[[group.hook]]", problems);
    hook_config hook;
    const auto name = r.text("name", true);
    if (name && !is_plain_name(*name)) {
        r.note_at("name", fmt::format("name \"{}\" is not valid: {}", *name, plain_name_rule));
    }
    hook.name = name.value_or("");
    if (const hook_type *type = type_of(r)) {
        hook.type = type->name;
        if (type->field == nullptr) {
            read_run(r, hook);
        } else {
            hook.*type->field = r.text(type->key, true).value_or("");
        }
    }
    hook.outside = r.flag("outside").value_or(false);
    if (const auto timeout = r.parsed<duration>("timeout", false, parse_duration)) {
        if (*timeout < timeout_min || *timeout > timeout_max) {
            r.note_at("timeout",
                      "timeout is 100ms to 10m: for so long its application may be held");
        }
        hook.timeout = *timeout;
    }
    r.finish();
    return hook;
}

/// `{time}` in it, so that no name is given twice.
bookmark_config bookmark_of(const toml::table &table, config_problems &problems) {
    table_reader r(table, "[[group.bookmark]]", problems);
    bookmark_config made;
    const auto name = r.text("name", true);
    constexpr std::string_view word = "{time}";
    const auto at = name ? name->find(word) : std::string::npos;
    if (name && at == std::string::npos) {
        r.note_at("name", "name has {time} in it, such as \"hourly-{time}\", since a name is given "
                          "once");
    } else if (name) {
        std::string example = *name;
        example.replace(at, word.size(), "20260131T180000Z");
        if (!is_bookmark_name(example)) {
            r.note_at("name",
                      fmt::format("name \"{}\" is not valid: {}", *name, bookmark_name_rule));
        }
    }
    made.name = name.value_or("");
    made.when = schedule_of(r, every_min).value_or(schedule{});
    made.app = r.flag("app").value_or(false);
    if (const auto keep = r.parsed<duration>("keep", false, parse_duration)) {
        if (*keep > std::chrono::seconds(label_keep_seconds_max)) {
            r.note_at("keep", "keep is at most 36600d");
        }
        made.keep = *keep;
    }
    r.finish();
    return made;
}

} // namespace

std::vector<bookmark_config> bookmarks_of(table_reader &group, config_problems &problems) {
    std::vector<bookmark_config> all;
    std::set<std::string> names;
    for (const toml::table *t : group.tables("bookmark")) {
        all.push_back(bookmark_of(*t, problems));
        if (const std::string &name = all.back().name;
            !name.empty() && !names.insert(name).second) {
            note(problems, t->source(), fmt::format("bookmark name \"{}\" is used twice", name));
        }
    }
    if (all.size() > bookmarks_max) {
        group.note_at("bookmark", fmt::format("a group has at most {} schedules", bookmarks_max));
    }
    return all;
}

std::vector<hook_config> hooks_of(table_reader &group, config_problems &problems) {
    std::vector<hook_config> hooks;
    std::set<std::string> names;
    for (const toml::table *t : group.tables("hook")) {
        hooks.push_back(hook_of(*t, problems));
        if (const std::string &name = hooks.back().name;
            !name.empty() && !names.insert(name).second) {
            note(problems, t->source(), fmt::format("hook name \"{}\" is used twice", name));
        }
    }
    if (hooks.size() > label_hooks_max) {
        group.note_at("hook", fmt::format("a group has at most {} hooks", label_hooks_max));
    }
    return hooks;
}

} // namespace farshore
