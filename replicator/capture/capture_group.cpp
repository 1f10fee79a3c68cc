#include "replicator/capture/capture_group.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/capture/capture_core.hpp"
#include "replicator/capture/interval_impl.hpp"

namespace farshore {

capture_group::capture_group() : impl_(std::make_unique<impl>()) {}
capture_group::~capture_group() = default;

const capture_start &capture_group::start() const { return impl_->start; }
std::size_t capture_group::volume_count() const { return impl_->volumes.size(); }
std::uint64_t capture_group::volume_size(volume_index v) const {
    return impl_->volumes.at(v.value)->size;
}
std::shared_ptr<block_device> capture_group::device(volume_index v) {
    return impl_->volumes.at(v.value)->device;
}

std::uint64_t capture_group::dirty_bytes(volume_index v) const {
    const captured_volume &volume = *impl_->volumes.at(v.value);
    const std::uint64_t last = volume.regions - 1;
    const bool last_dirty = (volume.map->word(last / 64) >> (last % 64) & 1) != 0;
    const std::uint64_t beyond = last_dirty ? volume.regions * region_bytes - volume.size : 0;
    const std::uint64_t bytes = volume.map->dirty_regions() * region_bytes;
    return bytes > beyond ? bytes - beyond : 0;
}

capture_mode capture_group::mode() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->mode;
}

capture_counts capture_group::counts() const {
    const std::lock_guard lock(impl_->mutex);
    capture_counts counts;
    counts.written_bytes = impl_->written_bytes;
    counts.pending_regions = impl_->pending_regions_locked();
    if (impl_->open) {
        counts.open_bytes = impl_->open->memory_bytes();
        counts.open_written_bytes = impl_->open->written_bytes;
        counts.open_since = impl_->open->first_write;
    }
    return counts;
}

void capture_group::set_attention(std::function<void()> f) { impl_->attention = std::move(f); }

std::string capture_group::fallback_reason() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->fallback;
}

std::uint64_t capture_group::pending_bytes() const {
    const std::lock_guard lock(impl_->mutex);
    std::uint64_t sum = 0;
    for (const auto &v : impl_->volumes) {
        const std::uint64_t last = v->regions - 1;
        sum += v->pending.count() * region_bytes;
        sum -= v->pending.test(last) ? v->regions * region_bytes - v->size : 0;
    }
    return sum;
}

void capture_group::change_memory(const std::function<open_memory(std::uint64_t open_bytes)> &f) {
    const std::lock_guard lock(impl_->mutex);
    impl_->options.memory = f(impl_->open ? impl_->open->memory_bytes() : 0);
}

void capture_group::begin_tracking() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->drop_open_locked();
    }
    impl_->free_dropped();
}

// A mark is durable once its extent is in the activity log: after a power cut or a remount all of
// it counts as dirty.
result<> capture_group::prepare_stream(stream_id stream, interval_id first, stream_position common,
                                       const digest16 &receiver) {
    for (const auto &v : impl_->volumes) {
        std::unique_lock lock(impl_->mutex);
        FS_CHECK(v->map->activity().commit(lock));
    }
    return impl_->state->begin(stream, first, common, receiver);
}

void capture_group::begin_recording(stream_id stream, interval_id first) {
    REPL_ASSERT(stream.value != 0 && first.value != 0);
    begin_tracking();
    const auto reserved = impl_->state->reserve(first);
    owned_core open(new interval_core({stream, first}, impl_->pool));
    std::unique_lock lock(impl_->mutex);
    if (!reserved) {
        impl_->fallback = "interval ids can't be reserved: " + reserved.error().text();
        lock.unlock();
        impl_->ask_attention(true);
        return;
    }
    impl_->gather_pending(lock);
    impl_->stream = stream;
    impl_->open = std::move(open);
    ++impl_->open_serial;
    impl_->fallback.clear();
    impl_->mode = capture_mode::recording;
}

// Copying takes a while for a large volume with much dirty, so it is done in parts, and clients may
// write meanwhile: what they mark is pending too. The acknowledgements of the stream before settle
// nothing from here on.
void capture_core::gather_pending(std::unique_lock<std::mutex> &lock) {
    constexpr std::uint64_t pages_each_hold = 64;
    stream = {};
    ++run;
    clock.restart();
    acknowledged = {};
    for (const auto &v : volumes) {
        v->pending.reset();
        v->verified.reset();
        v->unreadable.clear(); // their regions are dirty, so the scan looks at them anew
        v->held.reset();
        v->epochs.restart();
    }
    gathering = true;
    for (const auto &v : volumes) {
        for (std::uint64_t page = 0; page < v->map->pages(); ++page) {
            const index_range e{page * words_per_map_page,
                                std::min((page + 1) * words_per_map_page, v->map->words())};
            if (v->map->state(page) == map_page_state::dirty) {
                v->pending.set_range(e.first * 64, std::min(e.last * 64, v->regions));
            } else if (v->map->state(page) == map_page_state::mixed) {
                for (std::uint64_t w = e.first; w < e.last; ++w) {
                    v->pending.set_word(w, v->map->word(w));
                }
            }
            if (page % pages_each_hold == pages_each_hold - 1) {
                lock.unlock();
                lock.lock();
            }
        }
    }
    gathering = false;
}

void capture_group::mark_dirty(volume_index v, byte_range range) {
    captured_volume &volume = *impl_->volumes.at(v.value);
    range.length = std::min(range.length, volume.size - std::min(range.offset, volume.size));
    if (range.length == 0) {
        return;
    }
    const index_range regions = regions_of(range);
    impl_->touch_map(volume, blocks_of(range));
    const std::lock_guard lock(impl_->mutex);
    // Durable with the next maintain() or first touch of a writer: until then a power cut may take
    // the mark back, as it may the reason for it.
    volume.map->activity().want(extents_of(range));
    impl_->mark_locked(volume, regions);
    volume.pending.set_range(regions.first, regions.last);
}

void capture_group::mark_all_dirty() {
    for (const auto &v : impl_->volumes) {
        mark_dirty(v->index, {0, v->size});
    }
}

bool capture_group::all_dirty() const {
    return std::ranges::all_of(impl_->volumes,
                               [](const auto &v) { return v->map->dirty_regions() == v->regions; });
}

std::unique_ptr<interval> capture_group::close_interval(wall_time now, bool even_if_empty,
                                                        bool requested) {
    owned_core next_open(new interval_core({}, impl_->pool));
    owned_core closed;
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->mode != capture_mode::recording) {
            return nullptr;
        }
        interval_core &open = *impl_->open;
        if (!open.has_changes() && open.commit.verify.empty() && !even_if_empty) {
            if (impl_->clock.rotate()) {
                impl_->rotate_epochs_locked();
            }
            return nullptr;
        }
        open.commit.time = now;
        open.commit.consistent = impl_->pending_regions_locked() == 0;
        open.commit.requested = requested;
        open.commit.written_bytes = open.written_bytes;
        open.closed_at = impl_->options.time->now();
        next_open->position = {open.position.stream, next(open.position.interval)};
        closed = std::exchange(impl_->open, std::move(next_open));
        ++impl_->open_serial;
        for (const auto &v : impl_->volumes) {
            v->verified.reset();
        }
        if (impl_->clock.closed(closed->position.interval)) {
            impl_->rotate_epochs_locked();
        }
    }
    impl_->free_dropped();
    if (const auto used = impl_->state->use(closed->position.interval); !used) {
        // Its id could be given out again after a power cut: it must not leave.
        bool look = false;
        {
            const std::lock_guard lock(impl_->mutex);
            impl_->fall_back_locked("an interval id can't be reserved: " + used.error().text());
            look = impl_->take_attention_locked();
        }
        impl_->ask_attention(look);
        return nullptr;
    }
    auto inside = std::make_unique<interval::impl>();
    inside->core = std::move(closed);
    return std::unique_ptr<interval>(new interval(std::move(inside)));
}

} // namespace farshore
