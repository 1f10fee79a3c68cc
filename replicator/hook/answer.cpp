#include "replicator/hook/answer.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/control/json_guard.hpp"
#include "replicator/hook/hook_limits.hpp"

#include <algorithm>

namespace farshore::hook {
namespace {

using nlohmann::json;

/// "..." of clean_text counts too.
std::string cut(std::string_view text, std::size_t bytes_max) {
    return clean_text(text, bytes_max - 3);
}

/// The facts that fit the line, the first ones first.
std::string line_of(json document, const facts *known) {
    if (known == nullptr) {
        return control::to_line(document) + "\n";
    }
    json all = json::object();
    document["facts"] = all;
    std::size_t bytes = control::to_line(document).size() + 1;
    for (const auto &[key, value] : known->all()) {
        const std::size_t more = control::to_line(json{{key, value}}).size();
        if (bytes + more > limits::line_bytes_max) {
            break;
        }
        bytes += more;
        all[key] = value;
    }
    document["facts"] = std::move(all);
    return control::to_line(document) + "\n";
}

} // namespace

void facts::add(std::string_view key, std::string_view value) {
    std::string name = cut(key, limits::fact_key_bytes_max);
    std::string text = cut(value, limits::fact_value_bytes_max);
    const auto same = std::ranges::find(all_, name, [](const auto &one) { return one.first; });
    if (same != all_.end()) {
        same->second = std::move(text);
    } else if (all_.size() < limits::facts_max && !name.empty()) {
        all_.emplace_back(std::move(name), std::move(text));
    }
}

void facts::add(const facts &other) {
    for (const auto &[key, value] : other.all_) {
        add(key, value);
    }
}

std::string message_of(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.remove_suffix(1);
    }
    return cut(text, limits::message_bytes_max);
}

std::string frozen_line(std::chrono::milliseconds freeze, const facts &known) {
    return line_of({{"event", "frozen"}, {"freeze_ms", freeze.count()}}, &known);
}

std::string failed_line(std::string_view message) {
    return line_of({{"event", "failed"}, {"message", message_of(message)}}, nullptr);
}

std::string expired_line(std::string_view message) {
    return line_of({{"event", "expired"}, {"message", message_of(message)}}, nullptr);
}

std::string released_line(const release_outcome &outcome) {
    return line_of({{"event", "released"},
                    {"proved", outcome.proved},
                    {"frozen_ms", outcome.frozen.count()},
                    {"message", message_of(outcome.message)}},
                   &outcome.known);
}

} // namespace farshore::hook
