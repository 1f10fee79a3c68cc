#include "replicator/config/scrub_key.hpp"

#include "replicator/config/units.hpp"

namespace farshore {

std::optional<duration> scrub_of(table_reader &r, std::optional<duration> otherwise) {
    const auto text = r.text("scrub", false);
    if (!text) {
        return otherwise;
    }
    if (*text == "never") {
        return std::nullopt;
    }
    const auto every = parse_duration(*text);
    if (!every || *every < scrub_every_min) {
        r.note_at("scrub", "scrub: how often everything is read, such as \"7d\", at least \"1s\"; "
                           "or \"never\"");
        return otherwise;
    }
    return *every;
}

} // namespace farshore
