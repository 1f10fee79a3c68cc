#pragma once
// The throttle of one group: configured rate, a rate set by the operator, an override that expires by itself.
// Pure: time is a parameter; the caller persists it and feeds the pacer.

#include "replicator/base/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace farshore::engine {

struct throttle_setting {
    std::optional<std::uint64_t> configured;          ///< from the file; absent: unlimited
    bool is_set = false;                              ///< by `throttle set`
    std::optional<std::uint64_t> set_rate;            ///< absent while is_set: unlimited
    bool has_override = false;                        ///< by `throttle set --for`
    std::optional<std::uint64_t> override_rate;
    wall_time override_until{};
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

} // namespace farshore::engine
