#pragma once
// The document of `report` as one page: HTML with its style and its charts (SVG) in it. It loads
// nothing, runs nothing, and may be mailed, printed and kept. Pure.
//
// Names, notes and messages come from elsewhere: every text goes through escaped().

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace farshore {

std::string report_page(const nlohmann::json &report);

/// Text as HTML shows it, in elements and in attributes; control characters become spaces.
std::string escaped(std::string_view text);

} // namespace farshore
