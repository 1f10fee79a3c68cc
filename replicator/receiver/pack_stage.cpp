#include "replicator/receiver/pack_stage.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {
namespace {

constexpr duration idle_every = std::chrono::seconds(10);
/// Where nothing was applied for some looks, so that hosts of many idle groups stay idle.
constexpr duration quiet_every = std::chrono::minutes(1);
constexpr unsigned quiet_looks = 3;
constexpr duration behind_every = std::chrono::seconds(1);
constexpr duration again_every = std::chrono::minutes(1);
/// Durable intervals that the images lack; beyond, apply has the processor to itself.
constexpr std::uint64_t backlog_max = 2;

bool keeps_up(const replica_group &copy) {
    const replica_position at = copy.position();
    return at.durable.interval.value <= at.applied.interval.value + backlog_max;
}

} // namespace

void pack_stage::begin(std::shared_ptr<replica_group> copy) {
    ending_ = false;
    tasks_.spawn(live(std::move(copy)));
}

task<void> pack_stage::end() {
    ending_ = true;
    ended_.notify_all();
    co_await tasks_.join();
}

task<void> pack_stage::wait(duration every) {
    if (!ending_) {
        co_await ended_.wait_until(*run_.time, next_tick(run_.time->now(), every));
    }
}

task<void> pack_stage::live(std::shared_ptr<replica_group> copy) {
    unsigned looks = 0; // that found nothing to do, and nothing applied
    interval_id applied;
    while (!ending_) {
        if (!keeps_up(*copy)) {
            co_await wait(behind_every);
            continue;
        }
        const auto more = co_await run_on(run_.cpu, [copy] { return copy->pack(); });
        if (!more) {
            log_.tell(log::level::warning,
                      fmt::format("its history can't be packed now, and takes more space until "
                                  "then: {}; tried again every {:.0f} s",
                                  more.error().text(), seconds_of(again_every)));
            co_await wait(again_every);
        } else if (!*more) {
            const interval_id now = copy->position().applied.interval;
            looks = now == applied ? looks + 1 : 0;
            applied = now;
            co_await wait(looks < quiet_looks ? idle_every : quiet_every);
        }
    }
}

} // namespace farshore
