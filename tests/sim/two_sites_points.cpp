// Points that somebody keeps or drops by hand, by dice: what the DR site said of them holds,
// through crashes and power cuts, until a disaster there takes its disk back in time.

#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

namespace farshore::sim {

void two_sites::keep_points() {
    const replicated_group &g = any_group();
    const auto listed = await(receiver_->points(g.name), std::chrono::minutes(1));
    if (!listed || listed->empty()) {
        return;
    }
    const std::string id = (*listed)[roll(listed->size())].id;
    auto &known = kept_points_[g.number];
    switch (roll(4)) {
    case 0:
    case 1:
    case 2: {
        const bool pin = roll(3) != 0;
        const auto done = await(receiver_->pin(g.name, id, pin), std::chrono::minutes(2));
        say(fmt::format("{} {} of {}: {}", pin ? "pin" : "unpin", id, g.name,
                        done ? "done" : done.error().text()));
        known.erase(id); // refused or failed: it may be either
        if (done) {
            known[id] = pin ? kept_point::pinned : kept_point::unpinned;
        }
        note(done.has_value() ? 1 : 0);
        break;
    }
    default: {
        const auto done = await(receiver_->forget(g.name, id), std::chrono::minutes(2));
        say(fmt::format("forget {} of {}: {}", id, g.name, done ? "done" : done.error().text()));
        if (done && known.contains(id) && known[id] == kept_point::pinned) {
            throw broken_promise{
                fmt::format("point {} of {} was pinned and is forgotten", id, g.name)};
        }
        known.erase(id);
        if (done) {
            seen_points_[g.number].erase(id);
            known[id] = kept_point::forgotten;
        }
        note(done.has_value() ? 1 : 0);
        break;
    }
    }
}

/// Of a copy that works: another one has no points to look at.
void two_sites::judge_kept_points() {
    for (const replicated_group &g : groups_) {
        const auto status = receiver_->status()[g.number];
        if (disk_disturbed_ || site_.stopped() || status.error.has_value() || status.replay) {
            continue;
        }
        const auto listed = await(receiver_->points(g.name), std::chrono::minutes(1));
        if (!listed) {
            continue;
        }
        std::map<std::string, bool> pinned;
        for (const point_info &p : *listed) {
            pinned.emplace(p.id, p.pinned);
        }
        for (const auto &[id, what] : kept_points_[g.number]) {
            const auto at = pinned.find(id);
            const bool there = at != pinned.end();
            const bool right = what == kept_point::pinned     ? there && at->second
                               : what == kept_point::unpinned ? !there || !at->second
                                                              : !there;
            if (!right) {
                throw broken_promise{fmt::format("point {} of {} was {} and is {}", id, g.name,
                                                 what == kept_point::pinned     ? "pinned"
                                                 : what == kept_point::unpinned ? "unpinned"
                                                                                : "forgotten",
                                                 !there       ? "gone"
                                                 : at->second ? "pinned"
                                                              : "there")};
            }
        }
    }
}

} // namespace farshore::sim
