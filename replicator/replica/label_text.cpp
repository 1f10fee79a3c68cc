#include "replicator/replica/label_text.hpp"

#include <nlohmann/json.hpp>

namespace farshore {

std::string text_of_hooks(std::span<const hook_result> hooks) {
    if (hooks.empty()) {
        return "";
    }
    nlohmann::json list = nlohmann::json::array();
    for (const hook_result &hook : hooks) {
        nlohmann::json facts = nlohmann::json::object();
        for (const auto &[key, value] : hook.facts) {
            facts[key] = value;
        }
        const double freeze_ms = std::chrono::duration<double, std::milli>(hook.freeze).count();
        list.push_back({{"name", hook.name},
                        {"type", hook.type},
                        {"ok", hook.ok},
                        {"freeze_ms", freeze_ms},
                        {"message", hook.message},
                        {"facts", std::move(facts)}});
    }
    return list.dump();
}

void put_label(catalogued_point &point, const point_label &label) {
    point.kind = name_of(label.kind);
    point.name = label.name;
    point.note = label.note;
    point.keep = label.keep;
    point.hooks = text_of_hooks(label.hooks);
}

} // namespace farshore
