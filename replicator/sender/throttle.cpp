#include "replicator/sender/throttle.hpp"

#include <nlohmann/json.hpp>

namespace farshore {

using json = nlohmann::json;

void throttle_setting::set(std::optional<std::uint64_t> rate, std::optional<duration> lasts,
                           wall_time now) {
    if (lasts) {
        has_override = true;
        override_rate = rate;
        override_until = now + *lasts;
    } else {
        is_set = true;
        set_rate = rate;
        has_override = false;
    }
}

bool throttle_setting::expire(wall_time now) {
    const bool ends = has_override && now >= override_until;
    has_override = has_override && !ends;
    return ends;
}

std::string text_of(const throttle_setting &s) {
    json j = json::object();
    put_throttle(j, s);
    return j.dump(2) + "\n";
}

void put_throttle(json &file, const throttle_setting &s) {
    const auto rate = [](std::optional<std::uint64_t> r) { return r ? json(*r) : json(nullptr); };
    file["throttle_set"] = s.is_set;
    file["throttle_rate"] = rate(s.set_rate);
    file["override_set"] = s.has_override;
    file["override_rate"] = rate(s.override_rate);
    file["override_until_ms"] =
        std::chrono::duration_cast<std::chrono::milliseconds>(s.override_until.time_since_epoch())
            .count();
}

void take_throttle(const json &file, throttle_setting &s) {
    const auto rate = [&file](const char *key) -> std::optional<std::uint64_t> {
        return file.at(key).is_null() ? std::nullopt
                                      : std::optional(file.at(key).get<std::uint64_t>());
    };
    s.is_set = file.at("throttle_set").get<bool>();
    s.set_rate = rate("throttle_rate");
    s.has_override = file.at("override_set").get<bool>();
    s.override_rate = rate("override_rate");
    s.override_until =
        wall_time(std::chrono::milliseconds(file.at("override_until_ms").get<std::int64_t>()));
}

} // namespace farshore
