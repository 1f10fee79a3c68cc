#include "replicator/sender/bookmark_names.hpp"

#include "replicator/base/rfc3339.hpp"
#include "replicator/format/point_label.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace farshore {

using json = nlohmann::json;

namespace {

json ns(wall_time t) { return t.time_since_epoch().count(); }
wall_time time_of(const json &j) { return wall_time(duration(j.get<std::int64_t>())); }

} // namespace

const bookmark_names::made *bookmark_names::find(const std::string &name) const {
    const auto at = std::ranges::find(names, name, &made::name);
    return at == names.end() ? nullptr : &*at;
}

result<> bookmark_names::reserve(const std::string &name, wall_time now) {
    if (const made *there = find(name)) {
        return fail(
            errc::busy,
            there->barrier.value == 0
                ? fmt::format(
                      "bookmark \"{}\" was begun at {}; unless it is still being made, the sender "
                      "was killed meanwhile, and `farshore points` at the DR site says "
                      "whether it has it",
                      name, to_rfc3339(there->time))
                : fmt::format("bookmark \"{}\" exists: barrier {} of {}", name,
                              there->barrier.value, to_rfc3339(there->time)));
    }
    names.push_back({name, interval_id{}, now});
    while (names.size() > bookmark_names_max) {
        names.pop_front();
    }
    return {};
}

void bookmark_names::settle(const std::string &name, interval_id barrier, wall_time time) {
    if (const auto at = std::ranges::find(names, name, &made::name); at != names.end()) {
        at->barrier = barrier;
        at->time = time;
    }
}

void bookmark_names::drop(const std::string &name) {
    std::erase_if(names, [&](const made &m) { return m.name == name; });
}

std::string text_of(const bookmark_names &b) {
    json names = json::array();
    for (const auto &m : b.names) {
        names.push_back({{"name", m.name}, {"barrier", m.barrier.value}, {"time_ns", ns(m.time)}});
    }
    json schedules = json::object();
    for (const auto &[name, last] : b.schedules) {
        schedules[name] = ns(last);
    }
    return json{{"names", std::move(names)}, {"schedules", std::move(schedules)}}.dump(1) + "\n";
}

result<bookmark_names> read_bookmark_names(file_system &files, const std::string &path) {
    FS_TRY(present, files.exists(path));
    if (!present) {
        return bookmark_names{};
    }
    FS_TRY(bytes, files.read_file(path));
    const json j = json::parse(as_text(bytes), nullptr, false);
    bookmark_names b;
    try {
        for (const json &m : j.at("names")) {
            b.names.push_back({m.at("name").get<std::string>(),
                               interval_id{m.at("barrier").get<std::uint64_t>()},
                               time_of(m.at("time_ns"))});
        }
        for (const auto &[name, last] : j.at("schedules").items()) {
            b.schedules[name] = time_of(last);
        }
    } catch (const json::exception &) { // also when it is no object
        return fail(errc::corrupt, fmt::format("{} can't be read; remove it: names of bookmarks "
                                               "that the DR site has may be given again then",
                                               path));
    }
    return b;
}

std::string expand_bookmark_name(const std::string &pattern, wall_time now) {
    static constexpr std::string_view word = "{time}";
    const std::size_t at = pattern.find(word);
    if (at == std::string::npos) {
        return pattern;
    }
    std::string time = to_rfc3339(now);
    time.resize(time.find('.')); // to the second
    std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
    return pattern.substr(0, at) + time + "Z" + pattern.substr(at + word.size());
}

} // namespace farshore
