// Start, upkeep and stop of a capture group.

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/group/capture_core.hpp"

#include <cerrno>

namespace farshore {
namespace {

/// Beyond it extents leave the activity log soon, below it only after long idleness.
constexpr std::uint64_t active_extents_target = 1024;
constexpr duration idle_pass_every = std::chrono::minutes(5);

std::string volume_text(const capture_volume &config) {
    return "volume " + config.name + " (" + config.path + ")";
}

std::unexpected<error> volume_error(const capture_volume &config, const error &e) {
    std::string reason = e.text();
    if (is_errno(e, ENOENT)) {
        reason = "is missing";
    } else if (is_errno(e, EACCES) || is_errno(e, EPERM) || is_errno(e, EROFS)) {
        reason = "can't be opened for writing: " + e.code.message();
    } else if (is(e, errc::busy)) {
        reason = "is in use by another daemon or mounted";
    }
    return std::unexpected(error{e.code, volume_text(config) + ": " + reason});
}

result<std::unique_ptr<file>> open_locked(file_system &files, const capture_volume &config) {
    auto opened = files.open(config.path, open_mode::read_write);
    if (!opened) {
        return volume_error(config, opened.error());
    }
    if (const auto locked = (*opened)->lock(); !locked) {
        return volume_error(config, locked.error());
    }
    (*opened)->expect_scattered_use();
    return opened;
}

} // namespace

result<> capture_core::open_volume(file_system &files, const capture_volume &config) {
    auto v = std::make_unique<captured_volume>();
    v->config = config;
    v->index = volume_index{static_cast<std::uint16_t>(volumes.size())};
    FS_TRY(data, open_locked(files, config));
    v->data = std::move(data);
    FS_TRY(bytes, v->data->size());
    if (bytes == 0) {
        return fail(errc::invalid, volume_text(config) + ": is empty");
    }
    if (bytes > limits::volume_bytes_max) {
        return fail(errc::limit, volume_text(config) + ": is larger than 1 PiB");
    }
    v->size = bytes;
    v->blocks = block_count(bytes);
    v->regions = region_count(bytes);
    v->epochs = epoch_bits(v->regions);
    v->pending = paged_bitmap(v->regions);
    v->verified = paged_bitmap(v->regions);
    v->held = paged_bitmap(v->regions);
    v->last_idle_pass = options.time->now();
    auto map = dirty_map::open(files, join_path(options.state_directory, config.name + ".map"),
                               bytes, options.boot_id);
    if (!map) {
        return std::unexpected(
            error{map.error().code, volume_text(config) + ": dirty map: " + map.error().context});
    }
    v->map = std::move(*map);
    log::info("{}: dirty map: {}, {} of {} regions dirty", volume_text(config),
              v->map->verdict().name, v->map->dirty_regions(), v->regions);
    const map_trust trust = v->map->verdict().trust;
    if (trust == map_trust::nothing) {
        // Whoever made the image left it in the cache in large pages.
        FS_CHECK(v->data->drop_cached());
    }
    start.fresh = start.fresh || trust == map_trust::nothing;
    start.same_boot_or_clean = start.same_boot_or_clean && trust == map_trust::fine_bits;
    v->device = make_capture_device(*this, *v);
    volumes.push_back(std::move(v));
    return {};
}

result<std::unique_ptr<capture_group>> capture_group::open(file_system &files,
                                                           capture_options options) {
    if (options.volumes.empty() || options.volumes.size() > limits::volumes_per_group_max) {
        return fail(errc::invalid, "a group has 1 to " +
                                       std::to_string(limits::volumes_per_group_max) + " volumes");
    }
    if (options.boot_id.size() > boot_id_bytes_max || options.time == nullptr) {
        return fail(errc::invalid, "capture needs a boot id of at most 40 characters and a clock");
    }
    std::unique_ptr<capture_group> group(new capture_group);
    impl &in = *group->impl_;
    in.options = std::move(options);
    FS_CHECK(files.make_directories(in.options.state_directory));
    FS_TRY(state, capture_state::open(files, join_path(in.options.state_directory, "capture.state"),
                                      in.options.boot_id));
    in.state = std::move(state);
    in.start.same_boot_or_clean = true;
    for (const capture_volume &config : in.options.volumes) {
        FS_CHECK(in.open_volume(files, config));
    }
    const capture_record &found = in.state->found();
    in.start.last_interval = found.last_interval;
    in.start.acknowledged = found.acknowledged;
    in.start.receiver = found.receiver;
    return group;
}

// Data of an extent may leave the log once it is on disk for good and the DR site has it: so first
// the volume is synced, with nothing held, and what was used meanwhile stays.
result<> capture_core::retire_idle(captured_volume &v, bool stopping) {
    std::vector<std::uint64_t> candidates;
    std::unique_lock lock(mutex);
    activity_log &activity = v.map->activity();
    const bool crowded = activity.active_count() > active_extents_target;
    const time_point now = options.time->now();
    if (!stopping && !crowded && now - v.last_idle_pass < idle_pass_every) {
        return {};
    }
    v.last_idle_pass = now;
    for (std::uint64_t e = 0; e < v.map->words(); ++e) {
        if (activity.active(e) && v.map->word(e) == 0) {
            if (!activity.used(e) || stopping) {
                candidates.push_back(e);
            }
            activity.forget_use(e); // a second chance until the next pass
        }
    }
    if (candidates.empty()) {
        return {};
    }
    lock.unlock();
    FS_CHECK(sync_volume(v));
    lock.lock();
    return activity.retire(lock, candidates, [&](std::uint64_t e) {
        return v.map->word(e) == 0 && !activity.used(e);
    });
}

result<> capture_group::maintain() {
    const std::lock_guard one_at_a_time(impl_->upkeep_mutex);
    impl_->free_dropped();
    impl_->pool->trim();
    result<> outcome;
    const auto note = [&](result<> r) {
        if (!r && outcome) {
            outcome = std::move(r);
        }
    };
    for (const auto &v : impl_->volumes) {
        {
            std::unique_lock lock(impl_->mutex);
            note(v->map->activity().commit(lock));
        }
        note(impl_->retire_idle(*v, false));
    }
    interval_id id;
    {
        const std::lock_guard lock(impl_->mutex);
        id = impl_->open ? impl_->open->position.interval : interval_id{};
    }
    note(impl_->state->reserve(id));
    const std::lock_guard no_durable(impl_->durable_mutex);
    std::unique_lock lock(impl_->mutex);
    impl_->settle_acknowledged(lock);
    return outcome;
}

result<> capture_group::close_clean() {
    const std::lock_guard one_at_a_time(impl_->upkeep_mutex);
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->stopped = true;
        impl_->drop_open_locked();
    }
    impl_->free_dropped();
    for (const auto &v : impl_->volumes) {
        FS_CHECK(impl_->sync_volume(*v));
        {
            std::unique_lock lock(impl_->mutex);
            FS_CHECK(v->map->activity().commit(lock));
        }
        FS_CHECK(impl_->retire_idle(*v, true));
        FS_CHECK(v->map->mark_clean());
    }
    return impl_->state->close_clean();
}

} // namespace farshore
