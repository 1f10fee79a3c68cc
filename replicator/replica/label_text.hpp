#pragma once
// A bookmark's label as the catalogue keeps it: in the columns of its point, and what hooks
// answered as one text, a JSON list of {"name", "type", "ok", "freeze_ms", "message", "facts"},
// which is also how `points --json` shows it.

#include "replicator/catalogue/catalogue.hpp"
#include "replicator/format/point_label.hpp"

#include <span>
#include <string>

namespace farshore {

std::string text_of_hooks(std::span<const hook_result> hooks); ///< empty: there are none
void put_label(catalogued_point &point, const point_label &label);

} // namespace farshore
