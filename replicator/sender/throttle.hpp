#pragma once
// The throttle of one group, or of the daemon: configured rate, a rate set by the operator, an
// override that expires by itself. Pure: time is a parameter; the caller persists it and feeds the
// pacer.
//
// The daemon's (STATE/daemon.json) caps its whole use of the line; a group's
// (STATE/groups/NAME/group.json) caps that group besides. A link waits for both pacers.

#include "replicator/base/clock.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace farshore {

struct throttle_setting {
    std::optional<std::uint64_t> configured; ///< from the file; absent: unlimited
    bool is_set = false;                     ///< by `throttle set`
    std::optional<std::uint64_t> set_rate;   ///< absent while is_set: unlimited
    bool has_override = false;               ///< by `throttle set --for`
    std::optional<std::uint64_t> override_rate;
    wall_time override_until{};

    /// What `throttle set` makes of it: for good, or for a time.
    void set(std::optional<std::uint64_t> rate, std::optional<duration> lasts, wall_time now);
    void clear() { is_set = has_override = false; }
    /// True when an override has ended just now: the caller saves and applies what holds from here
    /// on.
    bool expire(wall_time now);
};

struct throttle_view {
    std::optional<std::uint64_t> rate; ///< bytes per second in force; absent: unlimited
    std::string source = "none";       ///< none, config, set, override
    std::optional<wall_time> until;
};

inline throttle_view view_of(const throttle_setting &s, wall_time now) {
    if (s.has_override && now < s.override_until) {
        return {s.override_rate, "override", s.override_until};
    }
    if (s.is_set) {
        return {s.set_rate, "set", std::nullopt};
    }
    return {s.configured, s.configured ? "config" : "none", std::nullopt};
}

/// The daemon's own file: an object of these keys.
std::string text_of(const throttle_setting &s);
/// Adds the keys throttle_set, throttle_rate, override_set, override_rate and override_until_ms to
/// a state file.
void put_throttle(nlohmann::json &file, const throttle_setting &s);
/// Takes them; `configured` stays. Throws nlohmann::json::exception when the file has other things
/// there.
void take_throttle(const nlohmann::json &file, throttle_setting &s);

} // namespace farshore
