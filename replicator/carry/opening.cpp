#include "replicator/carry/opening.hpp"

#include "replicator/control/exit_code.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace farshore::carry {
namespace {

using control::json;

json arguments_of(const point_choice &from) {
    json args{{"group", from.group}};
    if (!from.point.empty()) {
        args["point"] = from.point;
    }
    if (!from.since.empty()) {
        args["since"] = from.since;
    }
    if (from.applied) {
        args["applied"] = true;
    }
    if (from.suspect) {
        args["suspect"] = true;
    }
    if (from.writable) {
        args["writable"] = true;
    }
    if (from.mount) {
        args["mount"] = true;
    }
    if (from.space_bytes) {
        args["space_bytes"] = *from.space_bytes;
    }
    return args;
}

std::string names_of(const opening &o) {
    std::string text;
    for (const open_volume &v : o.volumes) {
        text += (text.empty() ? "" : ", ") + v.name;
    }
    return text;
}

/// What apply still has to do before the point is there.
void show_wait(const point_choice &from, const json &progress, const means &with) {
    const auto number = [&](const char *key) {
        const auto at = progress.find(key);
        return at != progress.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
    };
    with.progress(from.group + " apply", number("done_bytes"), number("total_bytes"));
}

} // namespace

result<opening> opening_of(const json &told) {
    const auto text = [&](const char *key) {
        const auto at = told.find(key);
        return at != told.end() && at->is_string() ? at->get<std::string>() : std::string();
    };
    opening o{text("id"), text("group"), text("point"), text("since"), nullptr,
              {},         text("mount"), nullptr};
    const auto uris = told.find("uris");
    if (o.group.empty() || o.point.empty() || uris == told.end() || !uris->is_object()) {
        return fail(errc::corrupt, "the receiver's answer about the opened point can't be read; "
                                   "are CLI and daemon of one version?");
    }
    for (const auto &[name, uri] : uris->items()) { // an object is sorted by its keys
        if (!uri.is_string()) {
            return fail(errc::corrupt, "the receiver names no place of volume " + name);
        }
        o.volumes.push_back({name, uri.get<std::string>()});
    }
    if (const auto mounts = told.find("mounts"); mounts != told.end() && mounts->is_object()) {
        for (open_volume &v : o.volumes) {
            const auto at = mounts->find(v.name);
            v.mount = at != mounts->end() && at->is_string() ? at->get<std::string>() : "";
        }
    }
    if (const auto start = told.find("start"); start != told.end()) {
        o.start = *start;
    }
    if (const auto facts = told.find("facts"); facts != told.end()) {
        o.facts = *facts;
    }
    return o;
}

control::outcome with_opening(const point_choice &from, const means &with,
                              const std::function<control::outcome(const opening &)> &work) {
    std::optional<control::outcome> done;
    const auto on_progress = [&](const json &progress) {
        if (with.stop()) {
            done = std::unexpected(failure_of(error{make_error_code(errc::cancelled), ""}));
            return control::call_goes_on::no;
        }
        const auto told = progress.find("opened");
        if (told == progress.end()) {
            show_wait(from, progress, with);
            return control::call_goes_on::yes;
        }
        const auto o = opening_of(*told);
        done = o ? work(*o) : std::unexpected(failure_of(o.error()));
        return control::call_goes_on::no;
    };
    const auto answer = control::call_while(with.socket, "open_attached", arguments_of(from),
                                            on_progress, with.limits);
    if (done) {
        return std::move(*done);
    }
    return answer ? std::unexpected(control::failure{
                        "failed", "the receiver closed the point before it could be read", 1})
                  : std::unexpected(answer.error());
}

result<open_volume> choose_volume(const opening &o, const std::string &name) {
    if (name.empty() && o.volumes.size() == 1) {
        return o.volumes.front();
    }
    if (name.empty()) {
        return fail(errc::invalid, fmt::format("group \"{}\" has several volumes, name one: {}",
                                               o.group, names_of(o)));
    }
    const auto at = std::ranges::find(o.volumes, name, &open_volume::name);
    if (at == o.volumes.end()) {
        return fail(errc::not_found, fmt::format("group \"{}\" has no volume \"{}\"; it has {}",
                                                 o.group, name, names_of(o)));
    }
    return *at;
}

result<nbd_source> connect_to(const opening &o, const open_volume &volume) {
    return nbd_source::connect(
        volume.uri, fmt::format("volume {} of {} at point {}", volume.name, o.group, o.point),
        o.since);
}

} // namespace farshore::carry
