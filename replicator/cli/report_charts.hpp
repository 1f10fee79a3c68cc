#pragma once
// The charts of the report's page, as SVG. Pure.

#include <nlohmann/json.hpp>

#include <string>

namespace farshore {

/// The worst age of the newest good point, hour by hour, on a logarithmic scale. Hours without a
/// record are a gap, hours without any point are marked. Empty: there is nothing to draw.
std::string exposure_chart(const nlohmann::json &group);
/// How long each rehearsal took, by when it was; those that failed stand out. Empty as above.
std::string rehearsal_chart(const nlohmann::json &group);

/// passed, FAILED, NOT RUN.
std::string result_word(const nlohmann::json &rehearsal);

} // namespace farshore
