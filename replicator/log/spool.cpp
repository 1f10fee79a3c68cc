#include "replicator/log/spool.hpp"

#include "replicator/base/log.hpp"
#include "replicator/log/segment_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {

result<std::unique_ptr<spool>> spool::open(file_system &files, spool_options options) {
    interval_log_options log_options;
    log_options.directory = options.directory;
    log_options.segment_bytes =
        std::clamp<std::uint64_t>(options.disk_bytes_max / 16, 1ULL << 20, 64ULL << 20);
    log_options.bytes_max = options.disk_bytes_max;
    // Reading what an earlier process left, only to drop it, would keep the clients' disks away for
    // as long.
    FS_CHECK(segment_store::discard(files, options.directory));
    FS_TRY(log, interval_log::open(files, log_options));
    return std::unique_ptr<spool>(new spool(std::move(options), std::move(log)));
}

spool::spool(spool_options options, std::unique_ptr<interval_log> log)
    : options_(std::move(options)), log_(std::move(log)) {}

result<> spool::push(const spooled_interval &what, std::vector<buffer> frames) {
    bool spill_now = false;
    {
        const std::scoped_lock lock(mutex_);
        bytes_ += what.bytes;
        memory_bytes_ += what.bytes;
        queue_.push_back(
            {what, std::make_shared<const std::vector<buffer>>(std::move(frames)), false});
        spill_now = memory_bytes_ > options_.memory_bytes_max;
    }
    if (!spill_now) {
        return {};
    }
    if (auto spilled = spill(); !spilled) {
        const std::scoped_lock lock(mutex_);
        if (!queue_.empty() && queue_.back().what.position == what.position &&
            !queue_.back().on_disk) {
            bytes_ -= what.bytes;
            memory_bytes_ -= what.bytes;
            queue_.pop_back();
        }
        return std::unexpected(spilled.error());
    }
    return {};
}

// Writes everything that is only in memory, oldest first, then gives the memory back. What is being
// sent stays alive through its frame_list until it is sent.
result<> spool::spill() {
    const std::scoped_lock disk(disk_mutex_);
    for (;;) {
        frame_list frames;
        stream_position position;
        {
            std::unique_lock lock(mutex_);
            if (drop_wanted_ || clear_wanted_) { // also while the last one was written: what was
                lock.unlock();                   // cleared must not come before what follows
                tidy_with_disk();
                continue;
            }
            const auto next =
                std::ranges::find_if(queue_, [](const entry &e) { return !e.on_disk; });
            if (next == queue_.end()) {
                return {};
            }
            frames = next->frames;
            position = next->what.position;
        }
        for (const buffer &frame : *frames) {
            if (auto appended = log_->append(frame.view()); !appended) {
                FS_CHECK(log_->abandon_partial());
                return std::unexpected(
                    error{appended.error().code,
                          fmt::format("the spool {} can't take more ({})", options_.directory,
                                      appended.error().context)});
            }
        }
        const std::scoped_lock lock(mutex_);
        for (entry &e : queue_) {
            if (e.what.position == position) {
                e.on_disk = true;
                e.frames.reset();
                memory_bytes_ -= e.what.bytes;
            }
        }
    }
}

const spool::entry *spool::find_entry(interval_id id) const {
    const auto at = std::ranges::lower_bound(
        queue_, id, {}, [](const entry &e) { return e.what.position.interval; });
    return at != queue_.end() && at->what.position.interval == id ? &*at : nullptr;
}

result<frame_list> spool::load(interval_id id) {
    {
        const std::scoped_lock lock(mutex_);
        const entry *e = find_entry(id);
        if (e == nullptr) {
            return fail(errc::not_found,
                        fmt::format("interval {} is no longer in the spool", id.value));
        }
        if (e->frames) {
            return e->frames;
        }
    }
    auto frames = log_->read(id);
    if (!frames) {
        return std::unexpected(
            error{frames.error().code,
                  fmt::format("the spool {} can't give back interval {} ({})", options_.directory,
                              id.value, frames.error().context)});
    }
    return std::make_shared<const std::vector<buffer>>(std::move(*frames));
}

std::optional<spooled_interval> spool::find(interval_id id) const {
    const std::scoped_lock lock(mutex_);
    const entry *e = find_entry(id);
    return e == nullptr ? std::nullopt : std::optional(e->what);
}

std::optional<stream_position> spool::first() const {
    const std::scoped_lock lock(mutex_);
    return queue_.empty() ? std::nullopt : std::optional(queue_.front().what.position);
}

std::optional<stream_position> spool::last() const {
    const std::scoped_lock lock(mutex_);
    return queue_.empty() ? std::nullopt : std::optional(queue_.back().what.position);
}

void spool::drop_through(interval_id upto) {
    const std::scoped_lock lock(mutex_);
    while (!queue_.empty() && queue_.front().what.position.interval <= upto) {
        const entry &e = queue_.front();
        if (e.on_disk) {
            drop_wanted_ = upto;
        }
        bytes_ -= e.what.bytes;
        memory_bytes_ -= e.frames ? e.what.bytes : 0;
        queue_.pop_front();
    }
}

void spool::clear() {
    const std::scoped_lock lock(mutex_);
    queue_.clear();
    bytes_ = 0;
    memory_bytes_ = 0;
    drop_wanted_.reset();
    clear_wanted_ = true;
}

void spool::set_memory_max(std::uint64_t bytes) {
    const std::scoped_lock lock(mutex_);
    options_.memory_bytes_max = bytes;
    spill_wanted_ = memory_bytes_ > bytes;
}

bool spool::untidy() const {
    const std::scoped_lock lock(mutex_);
    return drop_wanted_ || clear_wanted_ || spill_wanted_;
}

void spool::tidy() {
    bool spill_now = false;
    {
        const std::scoped_lock lock(mutex_);
        spill_now = std::exchange(spill_wanted_, false);
    }
    if (spill_now) {
        if (const auto spilled = spill(); !spilled) {
            log::warning("spool {}: {}; it stays in memory", options_.directory,
                         spilled.error().text());
        }
        return;
    }
    const std::scoped_lock disk(disk_mutex_);
    tidy_with_disk();
}

/// With disk_mutex_ held.
void spool::tidy_with_disk() {
    std::optional<interval_id> upto;
    bool all = false;
    {
        const std::scoped_lock lock(mutex_);
        upto = std::exchange(drop_wanted_, std::nullopt);
        all = std::exchange(clear_wanted_, false);
    }
    result<> done;
    if (all) {
        done = log_->clear();
    }
    if (done && upto) {
        done = log_->drop_through(*upto);
    }
    if (!done) {
        log::warning("spool {}: {}; its space is given back at the next start", options_.directory,
                     done.error().text());
    }
}

spool_use spool::use() const {
    const std::scoped_lock lock(mutex_);
    spool_use use{queue_.size(), bytes_, memory_bytes_, log_->used_bytes(), std::nullopt};
    if (!queue_.empty()) {
        use.oldest_write = queue_.front().what.first_write;
    }
    return use;
}

} // namespace farshore
