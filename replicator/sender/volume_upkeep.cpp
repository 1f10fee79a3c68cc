#include "replicator/sender/volume_upkeep.hpp"

#include "replicator/base/log.hpp"

#include <algorithm>
#include <utility>

namespace farshore {
namespace {
constexpr duration maintain_every = std::chrono::seconds(5);
constexpr duration reread_first = std::chrono::seconds(5);
constexpr duration reread_max = std::chrono::minutes(5);
} // namespace

volume_upkeep::volume_upkeep(std::string group, runtime run, capture_group &capture)
    : group_(std::move(group)), run_(std::move(run)), capture_(capture) {}

task<void> volume_upkeep::look(bool recording) {
    capture_.note_writes_in_flight();
    if (run_.time->now() < next_maintain_) {
        co_return;
    }
    next_maintain_ = run_.time->now() + maintain_every;
    co_await maintain();
    co_await reread(recording);
}

task<void> volume_upkeep::maintain() {
    const auto kept = co_await run_on(run_.disk, [this] { return capture_.maintain(); });
    if (!kept) {
        const std::string text = kept.error().text();
        if (const auto more = failures_.failed(text, run_.time->now())) {
            log::error("group {}: {}{}", group_, text, *more);
        }
    } else if (const auto after = failures_.worked(run_.time->now())) {
        log::info("group {}: the dirty map can be written again{}", group_, *after);
    }
    if (!disturbed_ && !capture_.disturbance().empty()) {
        disturbed_ = capture_.disturbance();
        log::error("group {}: {}", group_, *disturbed_);
    }
}

std::uint64_t volume_upkeep::unreadable_bytes() const {
    std::uint64_t sum = 0;
    for (std::uint16_t i = 0; i < capture_.volume_count(); ++i) {
        sum += capture_.unreadable_bytes(volume_index{i});
    }
    return sum;
}

// Reading a bad place may take seconds: less and less often.
task<void> volume_upkeep::reread(bool recording) {
    if (unreadable_bytes() == 0 || !recording) {
        reread_after_ = {};
        co_return;
    }
    if (run_.time->now() < next_reread_) {
        co_return;
    }
    const auto left = co_await run_on(run_.disk, [this] { return capture_.retry_unreadable(); });
    reread_after_ = std::clamp<duration>(reread_after_ * 2, reread_first, reread_max);
    next_reread_ = run_.time->now() + reread_after_;
    if (left && *left == 0) {
        log::info(
            "group {}: what its disks could not read is known again; the next point covers it",
            group_);
    }
}

} // namespace farshore
