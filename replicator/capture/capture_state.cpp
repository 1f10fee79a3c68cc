#include "replicator/capture/capture_state.hpp"

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

// More than upkeep (every 5 s) lets run low however fast intervals are closed, few enough that a
// copy which is ahead of all ids of an older state shows soon.
constexpr std::uint64_t reserve_ahead = 1024;
constexpr std::uint64_t reserve_low = 512;

} // namespace

result<std::unique_ptr<capture_state>>
capture_state::open(file_system &files, const std::string &path, const std::string &boot_id) {
    std::unique_ptr<capture_state> state(new capture_state);
    FS_TRY(opened, files.open(path, open_mode::create));
    state->file_ = std::move(opened);
    FS_CHECK(state->file_->lock());
    FS_CHECK(state->file_->allocate(capture_state_bytes));
    FS_TRY(mapped, state->file_->map(capture_state_bytes));
    state->map_ = std::move(mapped);
    auto found = parse_capture_state(state->map_->bytes());
    if (!found && is(found.error(), errc::unsupported)) {
        return std::unexpected(error{found.error().code, path + ": " + found.error().context});
    }
    if (found) {
        state->found_ = *found;
    } else if (!is_zero(state->map_->bytes())) {
        log::warning("{}: damaged; the last position is asked from the DR site", path);
    }
    capture_record &record = state->found_;
    if (record.boot_id != boot_id) {
        record.last_interval = std::max(record.last_interval, record.reserved_interval);
    }
    state->now_ = record;
    state->now_.reserved_interval = std::max(record.last_interval, record.reserved_interval);
    state->now_.boot_id = boot_id;
    state->store_locked();
    FS_CHECK(state->map_->sync());
    state->reserved_durably_ = state->now_.reserved_interval;
    FS_CHECK(files.sync_directory(parent_path(path)));
    return state;
}

void capture_state::store_locked() {
    ++now_.sequence;
    store_capture_state(map_->bytes(), now_);
}

void capture_state::acknowledge(stream_position position,
                                const std::array<std::byte, 16> &receiver) {
    const std::lock_guard lock(mutex_);
    now_.acknowledged = position;
    now_.receiver = receiver;
    store_locked();
}

result<> capture_state::begin(stream_id stream, interval_id first, stream_position common,
                              const std::array<std::byte, 16> &receiver) {
    const std::lock_guard one_sync(sync_mutex_);
    capture_record before;
    {
        const std::lock_guard lock(mutex_);
        before = now_;
        now_.begun = stream;
        now_.acknowledged = common;
        now_.receiver = receiver;
        now_.reserved_interval =
            std::max(now_.reserved_interval, interval_id{first.value + reserve_ahead});
        store_locked();
    }
    result<> synced = map_->sync();
    const std::lock_guard lock(mutex_);
    if (synced) {
        reserved_durably_ = now_.reserved_interval;
    } else {
        now_.begun = before.begun;
        now_.acknowledged = before.acknowledged;
        now_.receiver = before.receiver;
        now_.reserved_interval = before.reserved_interval;
    }
    return synced;
}

result<> capture_state::reserve_beyond(interval_id id, std::uint64_t low) {
    if (id.value > limits::interval_id_max - reserve_ahead) {
        return fail(errc::limit,
                    fmt::format("interval {} is beyond what can be numbered", id.value));
    }
    const std::lock_guard one_sync(sync_mutex_);
    {
        const std::lock_guard lock(mutex_);
        if (id.value + low <= reserved_durably_.value) {
            return {};
        }
        now_.reserved_interval = interval_id{id.value + reserve_ahead};
        store_locked();
    }
    result<> synced = map_->sync();
    const std::lock_guard lock(mutex_);
    (synced ? reserved_durably_ : now_.reserved_interval) =
        synced ? now_.reserved_interval : reserved_durably_;
    return synced;
}

result<> capture_state::reserve(interval_id id) { return reserve_beyond(id, reserve_low); }

result<> capture_state::use(interval_id id) {
    for (;;) {
        {
            const std::lock_guard lock(mutex_);
            if (id <= reserved_durably_) {
                now_.last_interval = std::max(now_.last_interval, id);
                store_locked();
                return {};
            }
        }
        FS_CHECK(reserve_beyond(id, 0));
    }
}

result<> capture_state::close_clean() {
    const std::lock_guard one_sync(sync_mutex_);
    {
        const std::lock_guard lock(mutex_);
        now_.reserved_interval = now_.last_interval;
        reserved_durably_ = now_.last_interval;
        store_locked();
    }
    return map_->sync();
}

} // namespace farshore
