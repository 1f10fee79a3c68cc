#pragma once
// The document of `report`. Names here are what scripts rely on: fields are added, never renamed.

#include "replicator/receiver/recovery_report.hpp"

#include <nlohmann/json.hpp>

namespace farshore {

nlohmann::json to_json(const recovery_report &r);

} // namespace farshore
