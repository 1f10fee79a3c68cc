// Clocks of the two sites that differ, drift and are set at random, and what retention may drop
// then: nothing that the rules keep by the time that really passed.

#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

namespace farshore::sim {

void two_sites::set_clocks() {
    for (own_clock *c : {&primary_clock_, &site_clock_}) {
        if (clock_dice_() % 3 == 0) {
            c->step(
                std::chrono::seconds(static_cast<std::int64_t>(clock_dice_() % 21'600) - 10'800));
        }
        if (clock_dice_() % 3 == 0) {
            c->drift(static_cast<int>(clock_dice_() % 2001) - 1000);
        }
    }
}

void two_sites::disturb_clock() {
    own_clock &c = clock_dice_() % 2 == 0 ? primary_clock_ : site_clock_;
    const char *whose = &c == &site_clock_ ? "the DR site's" : "the primary's";
    switch (clock_dice_() % 4) {
    case 0:
        say(fmt::format("{} clock is set right", whose));
        c.set_right();
        break;
    case 1:
        say(fmt::format("{} clock is a month ahead", whose));
        c.step(std::chrono::hours(30 * 24));
        break;
    default:
        say(fmt::format("{} clock is set", whose));
        c.step(std::chrono::seconds(static_cast<std::int64_t>(clock_dice_() % 14'400) - 7200));
        break;
    }
}

// Within one life of the receiver, without trouble of its disk and with room in the journal, a
// point that was made in it stays as long as the first rule says, by true time. Those of before may
// have been stamped by a clock that was wrong then.
void two_sites::judge_retention() {
    for (replicated_group &g : groups_) {
        const bool first_look = !seen_points_.contains(g.number);
        auto &seen = seen_points_[g.number];
        const auto status = receiver_->status()[g.number];
        const bool room = status.journal_used_bytes < status.journal_limit_bytes / 2;
        const bool trouble =
            disk_disturbed_ || site_.stopped() || status.error.has_value() || !room;
        auto points = await(receiver_->points(g.name), std::chrono::minutes(1));
        if (trouble || !points) {
            seen_points_.erase(g.number);
            continue;
        }
        const time_point unknown = clock_.now() - 2 * retain_all_;
        std::map<std::string, time_point> now;
        for (const point_info &p : *points) {
            const auto at = seen.find(p.id);
            now.emplace(p.id, at != seen.end() ? at->second : first_look ? unknown : clock_.now());
        }
        for (const auto &[id, since] : seen) {
            if (!now.contains(id) && clock_.now() - since < retain_all_) {
                throw broken_promise{fmt::format("point {} of {} is gone after {:.1f} s", id,
                                                 g.name, seconds_of(clock_.now() - since))};
            }
        }
        seen = std::move(now);
    }
}

} // namespace farshore::sim
