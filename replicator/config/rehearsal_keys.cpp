#include "replicator/config/rehearsal_keys.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/opening_limits.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/config/schedule_keys.hpp"
#include "replicator/config/units.hpp"
#include "replicator/session/point_name.hpp"

#include <fmt/format.h>

#include <set>

namespace farshore {
namespace {

std::string unused_name(table_reader &r, std::set<std::string> &used) {
    const auto name = r.text("name", true);
    if (name && !is_plain_name(*name)) {
        r.note_at("name", fmt::format("name \"{}\" is not valid: {}", *name, plain_name_rule));
    } else if (name && !used.insert(*name).second) {
        r.note_at("name", fmt::format("name \"{}\" is used twice in this group", *name));
    }
    return name.value_or("");
}

test_config test_of(const toml::table &table, std::set<std::string> &used,
                    config_problems &problems) {
    table_reader r(table, "[[group.test]]", problems);
    test_config t;
    t.name = unused_name(r, used);
    t.when = schedule_of(r, test_every_min).value_or(schedule{std::chrono::hours(24), {}});
    t.point = r.text("point", false).value_or(t.point);
    if (const auto name = parse_point_name(t.point); !name) {
        r.note_at("point", name.error().context);
    }
    t.run = program_of(r, "run", true, problems);
    t.timeout = time_limit_of(r, t.timeout);
    t.isolate = r.flag("isolate").value_or(false);
    t.mount = r.flag("mount").value_or(false);
    t.space_bytes = r.parsed<std::uint64_t>("space", false, parse_size);
    if (t.space_bytes &&
        (*t.space_bytes < block_bytes || *t.space_bytes > limits::overlay_space_max)) {
        r.note_at("space", "space is 4KiB to 1024TiB");
    }
    t.user = r.text("user", false).value_or("");
    r.finish();
    return t;
}

start_step step_of(const toml::table &table, std::set<std::string> &used,
                   config_problems &problems) {
    table_reader r(table, "[[group.start]]", problems);
    start_step s;
    s.name = unused_name(r, used);
    s.run = program_of(r, "run", true, problems);
    s.probe = program_of(r, "probe", false, problems);
    s.timeout = time_limit_of(r, s.timeout);
    r.finish();
    return s;
}

} // namespace

std::vector<test_config> tests_of(table_reader &r, config_problems &problems) {
    std::vector<test_config> all;
    std::set<std::string> used;
    for (const toml::table *t : r.tables("test")) {
        all.push_back(test_of(*t, used, problems));
    }
    if (all.size() > limits::group_tests_max) {
        r.note_here(fmt::format("a group has at most {} [[group.test]]", limits::group_tests_max));
    }
    return all;
}

std::vector<start_step> start_steps_of(table_reader &r, config_problems &problems) {
    std::vector<start_step> all;
    std::set<std::string> used;
    for (const toml::table *t : r.tables("start")) {
        all.push_back(step_of(*t, used, problems));
    }
    if (all.size() > limits::start_steps_max) {
        r.note_here(fmt::format("a group has at most {} [[group.start]]", limits::start_steps_max));
    }
    return all;
}

} // namespace farshore
