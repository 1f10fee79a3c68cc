// Start, upkeep and stop of a capture group.

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/capture/capture_core.hpp"
#include "replicator/capture/volume_file.hpp"

#include <fmt/format.h>

#include <cerrno>

namespace farshore {
namespace {

/// Beyond it extents leave the activity log soon, below it only after long idleness.
constexpr std::uint64_t active_extents_target = 1024;
constexpr duration idle_pass_every = std::chrono::minutes(5);

} // namespace

result<> capture_core::open_volume(file_system &files, const capture_volume &config) {
    auto v = std::make_unique<captured_volume>();
    v->config = config;
    v->index = volume_index{static_cast<std::uint16_t>(volumes.size())};
    FS_TRY(data, open_volume_file(files, config));
    v->data = std::move(data);
    v->data->expect_scattered_use();
    FS_TRY(bytes, v->data->size());
    v->size = bytes;
    v->blocks = block_count(bytes);
    v->regions = region_count(bytes);
    v->epochs = epoch_bits(v->regions);
    v->pending = paged_bitmap(v->regions);
    v->sampled = paged_bitmap(v->regions);
    v->verified = paged_bitmap(v->regions);
    v->held = paged_bitmap(v->regions);
    v->last_idle_pass = options.time->now();
    map_subject subject{bytes, options.boot_id, {}, {}, options.time->wall(), options.boot_began};
    FS_TRY(identity, v->data->identity());
    subject.volume = mark_of(identity, v->data->block_special());
    subject.times = times_of(identity);
    auto map =
        dirty_map::open(files, join_path(options.state_directory, config.name + ".map"), subject);
    if (!map) {
        return std::unexpected(
            error{map.error().code, volume_text(config) + ": dirty map: " + map.error().context});
    }
    v->map = std::move(*map);
    const map_verdict &verdict = v->map->verdict();
    log::info("{}: dirty map: {}, {} of {} regions dirty", volume_text(config), verdict.name,
              v->map->dirty_regions(), v->regions);
    if (verdict.alarm != nullptr) {
        start.alarm +=
            fmt::format("{}{}: {}; all of it is compared with the DR site's copy",
                        start.alarm.empty() ? "" : "; ", volume_text(config), verdict.alarm);
        log::warning("{}: {}. All of it is compared with the DR site's copy", volume_text(config),
                     verdict.alarm);
    }
    const map_trust trust = verdict.trust;
    if (trust == map_trust::nothing) {
        // Whoever made the image left it in the cache in large pages.
        FS_CHECK(v->data->drop_cached());
    }
    if (v->data->block_special() && trust != map_trust::nothing) {
        choose_sample(*v);
    }
    start.fresh = start.fresh || trust == map_trust::nothing;
    start.same_boot_or_clean = start.same_boot_or_clean && trust == map_trust::fine_bits;
    start.stopped_in_order = start.stopped_in_order && verdict.what == map_case::clean_stop;
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
    in.pool = in.options.pages ? in.options.pages : std::make_shared<page_pool>();
    FS_CHECK(files.make_directories(in.options.state_directory));
    FS_TRY(state, capture_state::open(files, join_path(in.options.state_directory, "capture.state"),
                                      in.options.boot_id));
    in.state = std::move(state);
    in.start.same_boot_or_clean = in.start.stopped_in_order = true;
    for (const capture_volume &config : in.options.volumes) {
        FS_CHECK(in.open_volume(files, config));
    }
    const capture_record &found = in.state->found();
    in.start.last_interval = found.last_interval;
    in.start.acknowledged = found.acknowledged;
    in.start.receiver = found.receiver;
    in.start.begun = found.begun;
    return group;
}

// A page of the map is looked at as a whole first: of a large volume most say "all dirty" or "all
// clean and idle".
void capture_core::find_idle_locked(captured_volume &v, std::uint64_t page, bool stopping,
                                    paged_bitmap &out) {
    activity_log &activity = v.map->activity();
    index_range e{page * words_per_map_page,
                  std::min((page + 1) * words_per_map_page, v.map->words())};
    const map_page_state says = v.map->state(page);
    if (says == map_page_state::dirty || !activity.any_active(e)) {
        return;
    }
    if (says == map_page_state::clean && activity.all_active(e) && !activity.any_used(e)) {
        out.set_range(e.first, e.last);
        return;
    }
    for (auto at = activity.next_active(e); at; at = activity.next_active(e)) {
        if (v.map->word(*at) == 0) {
            if (!activity.used(*at) || stopping) {
                out.set_range(*at, *at + 1);
            }
            activity.forget_use(*at); // a second chance until the next pass
        }
        e.first = *at + 1;
    }
}

// Data of an extent may leave the log once it is on disk for good and the DR site has it: so first
// the volume is synced, with nothing held, and what was used meanwhile stays.
result<> capture_core::retire_idle(captured_volume &v, bool stopping) {
    constexpr std::uint64_t pages_each_hold = 64;
    paged_bitmap candidates(v.map->words());
    std::unique_lock lock(mutex);
    activity_log &activity = v.map->activity();
    const bool crowded = activity.active_count() > active_extents_target;
    const time_point now = options.time->now();
    if (!stopping && !crowded && now - v.last_idle_pass < idle_pass_every) {
        return {};
    }
    v.last_idle_pass = now;
    for (std::uint64_t page = 0; page < v.map->pages(); ++page) {
        find_idle_locked(v, page, stopping, candidates);
        if (page % pages_each_hold == pages_each_hold - 1) {
            lock.unlock();
            lock.lock();
        }
    }
    if (candidates.empty()) {
        return {};
    }
    lock.unlock();
    FS_TRY(before, v.data->identity());
    FS_CHECK(sync_volume(v, true));
    v.map->note_durable(times_of(before));
    lock.lock();
    return activity.retire(lock, candidates, [&](std::uint64_t e) {
        return v.map->word(e) == 0 && !activity.used(e);
    });
}

void capture_core::look_for_others(captured_volume &v) {
    const auto named = v.data->named();
    const std::string seen = named && !*named
                                 ? v.config.path + " is another file by now than the one in use: "
                                                   "it was removed, renamed or replaced, or "
                                                   "something is mounted over it"
                                 : v.data->intruder();
    if (seen.empty()) {
        return;
    }
    v.map->note_shared();
    const std::lock_guard lock(mutex);
    if (disturbance.empty()) {
        disturbance = "volume " + v.config.name + ": " + seen +
                      ". Stop the daemon, put it right, and start it again; the volume is compared "
                      "as a whole then";
    }
}

std::string capture_group::disturbance() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->disturbance;
}

result<> capture_group::maintain() {
    const std::lock_guard one_at_a_time(impl_->upkeep_mutex);
    impl_->free_dropped();
    if (!impl_->options.pages) {
        impl_->pool->trim();
    }
    result<> outcome;
    const auto note = [&](result<> r) {
        if (!r && outcome) {
            outcome = std::move(r);
        }
    };
    for (const auto &v : impl_->volumes) {
        impl_->look_for_others(*v);
        {
            std::unique_lock lock(impl_->mutex);
            note(v->map->activity().commit(lock));
        }
        note(impl_->retire_idle(*v, false));
        note(v->map->sync_last_write());
    }
    if (!outcome) { // of a map, or of a volume, which has said so itself
        for (const auto &v : impl_->volumes) {
            v->map->note_sync_failed();
        }
    }
    interval_id id;
    {
        const std::lock_guard lock(impl_->mutex);
        id = impl_->open ? impl_->open->position.interval : interval_id{};
    }
    note(impl_->state->reserve(id));
    const std::lock_guard no_durable(impl_->durable_mutex);
    std::unique_lock lock(impl_->mutex);
    impl_->clear_acknowledged(lock);
    return outcome;
}

void capture_group::note_writes_in_flight() {
    const wall_time now = impl_->options.time->wall();
    const std::lock_guard lock(impl_->mutex);
    for (const auto &v : impl_->volumes) {
        if (!v->ranges.entries().empty()) {
            v->map->note_write(now);
        }
    }
}

result<> capture_core::close_volume(captured_volume &v) {
    look_for_others(v);
    FS_CHECK(sync_volume(v, true));
    {
        std::unique_lock lock(mutex);
        FS_CHECK(v.map->activity().commit(lock));
    }
    FS_CHECK(retire_idle(v, true));
    // Times that are of this stop alone, after the content is durable: a snapshot of the storage
    // below may have the times of the last write over content that was not written back, and a
    // power cut takes times back.
    v.map->note_write(options.time->wall());
    FS_CHECK(v.data->renew_times());
    FS_CHECK(sync_volume(v, true));
    FS_TRY(left, v.data->identity());
    return v.map->mark_clean(times_of(left));
}

// What can't be closed cleanly says so in its map, since the next start may be in the same boot,
// where the page cache would be trusted else. The other volumes are closed all the same.
result<> capture_group::close_clean() {
    const std::lock_guard one_at_a_time(impl_->upkeep_mutex);
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->stopped = true;
        impl_->drop_open_locked();
    }
    impl_->free_dropped();
    result<> outcome;
    for (const auto &v : impl_->volumes) {
        if (auto closed = impl_->close_volume(*v); !closed) {
            v->map->note_sync_failed();
            if (outcome) {
                outcome = std::move(closed);
            }
        }
    }
    FS_CHECK(outcome);
    return impl_->state->close_clean();
}

} // namespace farshore
