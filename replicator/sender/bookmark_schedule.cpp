#include "replicator/sender/bookmark_schedule.hpp"

#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

std::optional<wall_time> last_of(const bookmark_names &names, const std::string &schedule) {
    const auto at = names.schedules.find(schedule);
    return at == names.schedules.end() ? std::nullopt : std::optional(at->second);
}

} // namespace

bookmark_schedule::bookmark_schedule(std::string group, std::vector<bookmark_config> made,
                                     runtime run, bookmark_desk &desk, time_zone zone)
    : group_(std::move(group)), made_(std::move(made)), run_(std::move(run)), desk_(desk),
      zone_(std::move(zone)), tasks_(run_.home) {}

duration bookmark_schedule::patience(const bookmark_config &made) {
    return made.when.at ? schedule_patience_max
                        : std::min(made.when.every / 2, schedule_patience_max);
}

void bookmark_schedule::look() {
    if (busy_ || desk_.ending()) {
        return;
    }
    const wall_time now = run_.time->wall();
    for (const bookmark_config &m : made_) {
        const auto before = last_of(*desk_.names(), m.name);
        const auto last = settle_last(m.when, before, now);
        if (last != before && last) {
            desk_.names().change_now(
                [name = m.name, at = *last](bookmark_names &b) { b.schedules[name] = at; }, tasks_,
                fmt::format("group {}: schedule {}", group_, m.name));
        }
        if (next_due(m.when, last, now, zone_) <= now) {
            busy_ = true;
            tasks_.spawn(make(m));
            return;
        }
    }
}

// It counts as done when it is begun: what fails is not made again and again.
task<void> bookmark_schedule::make(bookmark_config due) {
    const auto begun = co_await desk_.names().change(
        [name = due.name, now = run_.time->wall()](bookmark_names &b) -> result<> {
            b.schedules[name] = now;
            return {};
        });
    bookmark_request wanted;
    wanted.name = due.name;
    wanted.app = due.app;
    wanted.keep = due.keep;
    wanted.timeout = patience(due);
    auto made = begun ? co_await desk_.make(std::move(wanted))
                      : result<bookmark_outcome>(std::unexpected(begun.error()));
    std::string wrong;
    if (!made) {
        wrong = made.error().context;
    } else if (due.app && made->label.kind != label_kind::app) {
        wrong = fmt::format("\"{}\" is not application-consistent: {}", made->label.name,
                            made->why_not_app);
    }
    trouble_.reset();
    if (!wrong.empty()) {
        trouble_ = fmt::format("scheduled bookmark {}: {}", due.name, wrong);
        log::warning("group {}: {}", group_, *trouble_);
    }
    busy_ = false;
}

} // namespace farshore
