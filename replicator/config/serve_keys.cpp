#include "replicator/config/serve_keys.hpp"

#include "replicator/config/units.hpp"
#include "replicator/nbd/serve_endpoint.hpp"

#include <algorithm>

namespace farshore {

// How many volumes there will be is not known; with one place for all of them only one can be
// served.
void read_serve(table_reader &r, receiver_group_config &g) {
    g.serve = r.text("serve", false).value_or("");
    if (!g.serve.empty()) {
        const std::size_t volumes = std::max<std::size_t>(g.targets.size(), g.volumes.size());
        if (const auto where = nbd::serve_endpoint(g.serve, g.name, "volume", volumes); !where) {
            r.note_at("serve", "serve: " + where.error().context);
        }
    }
    const auto after = r.text("commit_after", false);
    if (!after || *after == "never") {
        return;
    }
    const auto time = parse_duration(*after);
    if (!time || *time < commit_after_min) {
        r.note_at("commit_after", "commit_after: when a promotion is committed by itself, such as "
                                  "\"4h\", at least \"1m\"; or \"never\"");
        return;
    }
    g.commit_after = *time;
}

void read_start(table_reader &r, sender_group_config &g) {
    const auto when = r.text("start", false).value_or("always");
    if (when != "always" && when != "after-contact") {
        r.note_at("start", "start: \"always\", or \"after-contact\": after a stop that was not in "
                           "order clients wait until the DR site was heard");
    }
    g.start_after_contact = when == "after-contact";
}

} // namespace farshore
