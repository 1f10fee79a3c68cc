#include "replicator/control/json_guard.hpp"

#include <algorithm>

namespace farshore::control {

std::size_t nesting_of(std::string_view text) {
    std::size_t depth = 0;
    std::size_t deepest = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            deepest = std::max(deepest, ++depth);
        } else if ((c == '}' || c == ']') && depth > 0) {
            --depth;
        }
    }
    return deepest;
}

result<nlohmann::json> parse_json(std::string_view text) {
    if (nesting_of(text) > json_depth_max) {
        return fail(errc::limit, "the JSON text is nested too deeply");
    }
    auto document = nlohmann::json::parse(text, nullptr, false);
    if (document.is_discarded()) {
        return fail(errc::invalid, "the text is not JSON");
    }
    return document;
}

std::string to_line(const nlohmann::json &document) {
    return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace farshore::control
