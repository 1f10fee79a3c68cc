#include "replicator/replica/point_cases.hpp"

namespace farshore {

settled_points settle_points(const point_evidence &evidence) {
    settled_points settled;
    auto known = evidence.catalogued.begin();
    const auto gone = [&] {
        settled.gone.push_back(known->id);
        if (known->pinned) {
            settled.gone_and_pinned.push_back(known->id);
        }
        ++known;
    };
    for (const catalogued_point &found : evidence.history) {
        while (known != evidence.catalogued.end() && known->id < found.id) {
            gone();
        }
        if (known != evidence.catalogued.end() && known->id == found.id) {
            settled.points.push_back(*known++);
        } else if (found.id > evidence.noted_through) {
            settled.points.push_back(found);
        }
    }
    while (known != evidence.catalogued.end()) {
        gone();
    }
    return settled;
}

} // namespace farshore
