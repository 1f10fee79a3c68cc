#include "replicator/quiesce/hook_words.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/base/plain_name.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace farshore {
namespace {

using json = nlohmann::json;

std::string message_in(const json &event) {
    const auto at = event.find("message");
    return at != event.end() && at->is_string()
               ? clean_text(at->get<std::string>(), label_message_bytes_max - 3)
               : "";
}

/// Those that a label takes; what is too long is cut, what is no name is left out.
std::vector<std::pair<std::string, std::string>> facts_in(const json &event) {
    std::vector<std::pair<std::string, std::string>> facts;
    const auto at = event.find("facts");
    if (at == event.end() || !at->is_object()) {
        return facts;
    }
    for (const auto &[key, value] : at->items()) {
        if (facts.size() < label_facts_max && is_plain_name(key) && value.is_string()) {
            facts.emplace_back(key,
                               clean_text(value.get<std::string>(), label_value_bytes_max - 3));
        }
    }
    return facts;
}

std::chrono::microseconds frozen_in(const json &event) {
    constexpr double most_ms = 1e9;
    const auto at = event.find("frozen_ms");
    const double ms = at != event.end() && at->is_number() ? at->get<double>() : 0.0;
    return std::chrono::microseconds(
        static_cast<std::int64_t>(std::clamp(ms, 0.0, most_ms) * 1000));
}

} // namespace

std::string hook_request(const hook_config &hook, const hook_context &context,
                         const std::vector<std::string> &never) {
    json volumes = json::array();
    for (const auto &[name, path] : context.volumes) {
        volumes.push_back({{"name", name}, {"path", path}});
    }
    json request{{"version", 1},
                 {"name", hook.name},
                 {"type", hook.type},
                 {"timeout_ms", std::chrono::ceil<std::chrono::milliseconds>(hook.timeout).count()},
                 {"group", context.group},
                 {"bookmark", context.bookmark},
                 {"outside", hook.outside},
                 {"volumes", std::move(volumes)},
                 {"never", never}};
    const std::pair<const char *, const std::string &> texts[] = {{"connect", hook.connect},
                                                                  {"mount", hook.mount},
                                                                  {"socket", hook.socket},
                                                                  {"file", hook.file},
                                                                  {"user", hook.user}};
    for (const auto &[key, text] : texts) {
        if (!text.empty()) {
            request[key] = text;
        }
    }
    if (!hook.run.empty()) {
        request["run"] = hook.run;
    }
    return request.dump() + "\n";
}

result<std::optional<hook_event>> hook_answers::next() {
    const std::size_t end = heard_.find('\n');
    if (std::min(end, heard_.size()) > hook_line_bytes_max) {
        return fail(errc::corrupt, "the hook's process said too much");
    }
    if (end == std::string::npos) {
        return std::nullopt;
    }
    const json said = json::parse(std::string_view(heard_).substr(0, end), nullptr, false);
    heard_.erase(0, end + 1);
    if (!said.is_object() || !said.contains("event") || !said["event"].is_string()) {
        return fail(errc::corrupt, "the hook's process said what is no event");
    }
    const auto proved = said.find("proved");
    hook_event event;
    event.what = said["event"].get<std::string>();
    event.proved = proved != said.end() && proved->is_boolean() && proved->get<bool>();
    event.frozen = frozen_in(said);
    event.message = message_in(said);
    event.facts = facts_in(said);
    return event;
}

} // namespace farshore
