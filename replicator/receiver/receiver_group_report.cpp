// A group at the DR site: how exposed it was, and its report.

#include "replicator/receiver/receiver_group.hpp"

#include <algorithm>
#include <utility>

namespace farshore {

// What would be lost is what was written since: an old point that nothing was written after costs
// nothing.
void receiver_group::covered_heard(interval_id barrier) {
    if (exposure_.newest && exposure_.newest->id == barrier) {
        exposure_.covered = barrier;
        exposure_.covered_at = run_.time->now();
    }
    look_at_exposure();
}

// The point that was the newest until now is at its oldest.
void receiver_group::look_at_exposure(risk counted) {
    std::optional<duration> age;
    if (const auto &newest = exposure_.newest) {
        age = counted == risk::counts ? clock_.age_of(*newest) : duration{};
        if (newest->id == exposure_.covered) {
            age = std::min(*age, run_.time->now() - exposure_.covered_at);
        }
    }
    exposure_.watch.look(run_.time->wall(), run_.time->now(), age, connected());
    if (copy_) {
        exposure_.newest = copy_->position().newest_point;
    }
}

task<void> receiver_group::keep_exposure() {
    look_at_exposure();
    const auto copy = copy_;
    if (!copy) {
        co_return; // there is nowhere to keep it
    }
    auto hours = exposure_.watch.take();
    const auto kept =
        co_await run_on(run_.disk, [copy, &hours] { return copy->facts().add_exposure(hours); });
    if (!kept) {
        exposure_.watch.put_back(std::move(hours));
        log_.tell(log::level::warning, "the record of its exposure: " + kept.error().text());
    }
}

task<void> receiver_group::watch_exposure() {
    time_point next = run_.time->now() + exposure_keep_every;
    while (!is_stopping(phase_)) {
        if (run_.time->now() < next) {
            co_await changed_.wait_until(*run_.time, next);
        } else {
            next = run_.time->now() + exposure_keep_every;
            co_await keep_exposure();
        }
    }
}

task<result<recovery_report>> receiver_group::report(wall_time since) {
    FS_CO_CHECK(check_served());
    recovery_report r;
    r.group = name();
    r.from = since;
    co_await keep_exposure();
    r.to = run_.time->wall();
    r.state = status().state;
    if (const auto copy = copy_) {
        FS_CO_TRY(hours, co_await run_on(run_.disk,
                                         [copy, since] { return copy->facts().exposure(since); }));
        FS_CO_TRY(rehearsals, co_await run_on(run_.disk, [copy, since] {
                      return copy->facts().rehearsals(since);
                  }));
        r.hours = std::move(hours);
        r.rehearsals = std::move(rehearsals);
        FS_CO_TRY(points, co_await this->points());
        r.points = std::move(points);
    }
    co_return r;
}

} // namespace farshore
