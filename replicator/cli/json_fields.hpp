#pragma once
// Lenient reading of documents that come from a daemon of maybe another version: what is missing or
// of another type reads as absent. JSON pointers name the fields.

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

namespace farshore {

using json = nlohmann::json;

inline const json *field(const json &document, const char *pointer) {
    const json::json_pointer path(pointer);
    return document.contains(path) ? &document.at(path) : nullptr;
}
inline std::string text_field(const json &document, const char *pointer,
                              const std::string &otherwise = "") {
    const json *value = field(document, pointer);
    return value != nullptr && value->is_string() ? value->get<std::string>() : otherwise;
}
inline double number_field(const json &document, const char *pointer, double otherwise = 0) {
    const json *value = field(document, pointer);
    return value != nullptr && value->is_number() ? value->get<double>() : otherwise;
}
inline std::uint64_t count_field(const json &document, const char *pointer) {
    const json *value = field(document, pointer);
    return value != nullptr && value->is_number_unsigned() ? value->get<std::uint64_t>() : 0;
}
inline bool flag_field(const json &document, const char *pointer) {
    const json *value = field(document, pointer);
    return value != nullptr && value->is_boolean() && value->get<bool>();
}
/// The array of that name; an empty one when there is none.
inline const json &list_field(const json &document, const char *pointer) {
    static const json none = json::array();
    const json *value = field(document, pointer);
    return value != nullptr && value->is_array() ? *value : none;
}

} // namespace farshore
