#pragma once
// JSON from outside, parsed within bounds: the nesting is counted before the parser (which
// recurses) sees the text. Nothing throws.

#include "replicator/base/error.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace farshore::control {

constexpr std::size_t json_depth_max = 32;

/// Deepest nesting of objects and arrays, brackets inside strings left out.
std::size_t nesting_of(std::string_view text);
/// errc::limit beyond json_depth_max, errc::invalid for what is not JSON.
result<nlohmann::json> parse_json(std::string_view text);
/// One line, without a newline at the end; bytes that are not UTF-8 come out as U+FFFD.
std::string to_line(const nlohmann::json &document);

} // namespace farshore::control
