#include "replicator/capture/dirty_map.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

namespace farshore {
namespace {

/// A last write younger than this is not stored again: a clock is read for each, the page is
/// touched seldom.
constexpr std::int64_t last_write_grain_ns = 50'000'000;
constexpr std::int64_t last_write_sync_ns = 60'000'000'000;

constexpr std::int64_t to_ns(wall_time t) { return t.time_since_epoch().count(); }

std::atomic_ref<std::int64_t> last_write_of(bytes_span mapped) {
    void *at = mapped.data() + map_last_write_offset;
    return std::atomic_ref(*static_cast<std::int64_t *>(at));
}

/// Inode numbers are given out again, birth times hardly. A block device has neither; where it
/// stands proves nothing.
bool same_file(const file_mark &a, const file_mark &b) {
    return a.inode == b.inode && (a.born_ns == b.born_ns || a.born_ns == 0 || b.born_ns == 0);
}

struct found_map {
    map_evidence evidence;
    map_layout layout;
};

void weigh(map_evidence &e, const map_state &state, const file_mark &map, const map_subject &now,
           bytes_span mapped, const map_layout &layout) {
    e.same_file = same_file(state.volume, now.volume);
    e.clean = state.clean;
    e.intact = state.clean && state.fine_checksum == checksum_fine(mapped, layout);
    e.same_boot = state.boot_id == now.boot_id;
    e.same_instance = state.map == map && map.instance != 0 && state.volume == now.volume &&
                      now.volume.instance != 0;
    e.sync_failed = state.sync_failed;
    e.shared = state.shared;
    time_evidence t;
    t.clean = state.clean;
    t.same_boot = e.same_boot;
    t.same_instance = e.same_instance;
    t.left = state.left;
    t.durable = state.durable;
    t.now = now.times;
    t.last_write_ns = last_write_of(mapped).load(std::memory_order_relaxed);
    t.clock_ns = to_ns(now.now);
    t.boot_began_ns = to_ns(now.boot_began);
    e.times = judge_times(t);
}

/// Changes nothing. errc::unsupported passes through: such a map is never replaced.
result<found_map> inspect(file_system &files, const std::string &path, const map_subject &subject) {
    found_map found;
    FS_TRY(present, files.exists(path));
    found.evidence.present = present;
    if (!present) {
        return found;
    }
    FS_TRY(map_file, files.open(path, open_mode::read_write));
    FS_TRY(bytes, map_file->size());
    if (bytes < map_page_bytes) {
        return found;
    }
    buffer page(map_page_bytes);
    FS_CHECK(map_file->read_at(0, page.span()));
    const auto layout = parse_map_header(page.view());
    if (!layout && is(layout.error(), errc::unsupported)) {
        return std::unexpected(error{layout.error().code, path + ": " + layout.error().context});
    }
    const auto state = parse_map_state(page.view());
    if (!layout || !state || bytes < layout->file_bytes()) {
        return found;
    }
    found.layout = *layout;
    found.evidence.readable = true;
    found.evidence.same_size = layout->volume_bytes == subject.volume_bytes;
    FS_TRY(identity, map_file->identity());
    FS_TRY(mapped, map_file->map(layout->mapped_bytes()));
    weigh(found.evidence, *state, mark_of(identity, false), subject, mapped->bytes(), *layout);
    return found;
}

} // namespace

file_mark mark_of(const file_identity &id, bool block_special) {
    return block_special ? file_mark{id.device, 0, 0, id.instance}
                         : file_mark{id.device, id.inode, id.born, id.mount};
}

file_times times_of(const file_identity &id) { return {id.modified, id.changed}; }

dirty_map::dirty_map(std::unique_ptr<file> f, std::unique_ptr<shared_map> map,
                     const map_layout &layout)
    : file_(std::move(f)), map_(std::move(map)), layout_(layout),
      states_(map_page_states(map_->bytes(), layout)), words_(map_words(map_->bytes(), layout)),
      page_dirty_(layout.pages()), regions_(region_count(layout.volume_bytes)) {}

std::uint64_t dirty_map::whole(std::uint64_t extent) const {
    return word_mask(extent, 0, regions_);
}

std::uint64_t dirty_map::regions_of_page(std::uint64_t page) const {
    return std::min(regions_ - page * regions_per_map_page, regions_per_map_page);
}

map_page_state dirty_map::state(std::uint64_t page) const {
    const std::uint8_t raw = std::atomic_ref(states_[page]).load(std::memory_order_acquire);
    return raw <= static_cast<std::uint8_t>(map_page_state::dirty)
               ? static_cast<map_page_state>(raw)
               : map_page_state::dirty;
}

void dirty_map::set_state(std::uint64_t page, map_page_state to) {
    std::atomic_ref(states_[page]).store(static_cast<std::uint8_t>(to), std::memory_order_release);
}

void dirty_map::count(std::uint64_t page, std::uint64_t dirty) {
    dirty_regions_.fetch_add(dirty - page_dirty_[page], std::memory_order_relaxed); // modulo 2^64
    page_dirty_[page] = static_cast<std::uint32_t>(dirty);
}

void dirty_map::set_page(std::uint64_t page) {
    set_state(page, map_page_state::dirty);
    count(page, regions_of_page(page));
}

void dirty_map::clear_page(std::uint64_t page) {
    set_state(page, map_page_state::clean);
    count(page, 0);
}

std::uint64_t dirty_map::set(std::uint64_t extent, std::uint64_t mask) {
    const std::uint64_t added = mask & ~word(extent);
    if (added == 0) {
        return 0;
    }
    const std::uint64_t page = extent / words_per_map_page;
    if (state(page) == map_page_state::clean) {
        // What its bits say is of an earlier time.
        const std::uint64_t first = page * words_per_map_page;
        for (std::uint64_t e = first; e < std::min(first + words_per_map_page, words()); ++e) {
            at(e).store(0, std::memory_order_relaxed);
        }
        set_state(page, map_page_state::mixed);
    }
    at(extent).fetch_or(mask, std::memory_order_relaxed);
    count(page, page_dirty_[page] + static_cast<std::uint64_t>(std::popcount(added)));
    return added;
}

void dirty_map::clear(std::uint64_t extent, std::uint64_t mask) {
    const std::uint64_t removed = mask & word(extent);
    if (removed == 0) {
        return;
    }
    const std::uint64_t page = extent / words_per_map_page;
    if (state(page) == map_page_state::dirty) {
        const std::uint64_t first = page * words_per_map_page;
        for (std::uint64_t e = first; e < std::min(first + words_per_map_page, words()); ++e) {
            at(e).store(whole(e), std::memory_order_relaxed);
        }
        set_state(page, map_page_state::mixed);
    }
    at(extent).fetch_and(~mask, std::memory_order_relaxed);
    count(page, page_dirty_[page] - static_cast<std::uint64_t>(std::popcount(removed)));
    if (page_dirty_[page] == 0) {
        set_state(page, map_page_state::clean);
    }
}

void dirty_map::touch(std::uint64_t extent) const {
    const std::atomic_ref<std::uint64_t> w = at(extent);
    std::uint64_t value = w.load(std::memory_order_relaxed);
    // A compare-exchange with the same value: fetch_or(0) would be compiled to a mere load.
    w.compare_exchange_strong(value, value, std::memory_order_relaxed);
}

void dirty_map::touch_state(std::uint64_t page) const {
    const std::atomic_ref<std::uint8_t> s(states_[page]);
    std::uint8_t value = s.load(std::memory_order_relaxed);
    s.compare_exchange_strong(value, value, std::memory_order_relaxed);
}

result<std::unique_ptr<dirty_map>> dirty_map::open(file_system &files, const std::string &path,
                                                   const map_subject &subject) {
    const map_layout layout = map_layout::of(subject.volume_bytes);
    FS_TRY(found, inspect(files, path, subject));
    const map_verdict verdict = judge_map(found.evidence);
    if (verdict.what == map_case::resized) {
        return fail(errc::mismatch,
                    fmt::format("the volume has {} bytes now and had {} when it was last served; "
                                "the copy at the DR "
                                "site has the old size too. Put the size back, or remove {} to "
                                "begin anew with a new copy",
                                subject.volume_bytes, found.layout.volume_bytes, path));
    }
    if (verdict.trust == map_trust::nothing) {
        FS_CHECK(make_new(files, path, layout, subject.boot_id));
    }
    FS_TRY(map_file, files.open(path, open_mode::read_write));
    FS_TRY(mapping, map_file->map(layout.mapped_bytes()));
    std::unique_ptr<dirty_map> map(new dirty_map(std::move(map_file), std::move(mapping), layout));
    map->verdict_ = verdict;
    FS_CHECK(map->begin(subject));
    return map;
}

// A complete file under another name takes the place of the old one, so that a crash in between
// leaves either of them.
result<> dirty_map::make_new(file_system &files, const std::string &path, const map_layout &layout,
                             const std::string &boot_id) {
    const std::string made = path + ".new";
    FS_CHECK(files.remove(made));
    FS_TRY(f, files.open(made, open_mode::create_new));
    // Space for all of it now: a store into the mapping of a full disk would kill the process.
    FS_CHECK(f->allocate(layout.file_bytes()));
    buffer page(map_page_bytes);
    encode_map_header(page.span(), layout);
    map_state state;
    state.sequence = 1;
    state.boot_id = boot_id;
    store_map_state(page.span(), state);
    FS_CHECK(f->write_at(0, page.view()));
    // All pages are dirty; the fine bits need not be written.
    buffer states(layout.fine_offset - map_page_bytes);
    std::ranges::fill(states.span(), std::byte{0});
    std::ranges::fill(states.span().first(layout.pages()),
                      static_cast<std::byte>(map_page_state::dirty));
    FS_CHECK(f->write_at(map_page_bytes, states.view()));
    const std::uint64_t extents = extent_count(layout.volume_bytes);
    std::array<std::byte, activity_sector_bytes> sector;
    for (std::uint64_t s = 0; s < layout.sectors(); ++s) {
        activity_bits bits;
        for (std::size_t w = 0; w < activity_words; ++w) {
            bits[w] = word_mask(s * activity_words + w, 0, extents);
        }
        encode_activity(sector, static_cast<std::uint32_t>(s), bits);
        FS_CHECK(f->write_at(layout.activity_offset + s * activity_sector_bytes, sector));
    }
    FS_CHECK(f->sync_data());
    FS_CHECK(files.rename(made, path));
    return files.sync_directory(parent_path(path));
}

result<paged_bitmap> dirty_map::read_activity() {
    constexpr std::uint64_t sectors_each = 256;
    const std::uint64_t extents = extent_count(layout_.volume_bytes);
    paged_bitmap active(extents);
    buffer some(sectors_each * activity_sector_bytes);
    for (std::uint64_t s = 0; s < layout_.sectors(); ++s) {
        if (s % sectors_each == 0) {
            const std::uint64_t count = std::min(sectors_each, layout_.sectors() - s);
            FS_CHECK(file_->read_at(layout_.activity_offset + s * activity_sector_bytes,
                                    some.span().first(count * activity_sector_bytes)));
        }
        const bytes_view sector =
            some.view().subspan((s % sectors_each) * activity_sector_bytes, activity_sector_bytes);
        const auto bits = parse_activity(sector, static_cast<std::uint32_t>(s));
        const std::uint64_t first = s * extents_per_sector;
        if (!bits) {
            log::warning("{}: activity sector {} is damaged: its extents count as active", path(),
                         s);
            active.set_range(first, std::min(first + extents_per_sector, extents));
            continue;
        }
        for (std::size_t w = 0; w < activity_words; ++w) {
            const std::uint64_t word = s * activity_words + w;
            if (word * 64 < extents) {
                active.set_word(word, (*bits)[w] & word_mask(word, 0, extents));
            }
        }
    }
    return active;
}

// What the page says after the start, and that a dirty region is always in an active extent.
void dirty_map::begin_page(std::uint64_t page) {
    const index_range extents{page * words_per_map_page,
                              std::min((page + 1) * words_per_map_page, words())};
    const bool add_active = verdict_.trust == map_trust::fine_bits_and_active;
    const map_page_state found = state(page);
    if (found == map_page_state::dirty || (add_active && activity_->all_active(extents))) {
        set_page(page);
        activity_->want(extents);
        return;
    }
    if (found == map_page_state::clean && !(add_active && activity_->any_active(extents))) {
        return;
    }
    std::uint64_t dirty = 0;
    for (std::uint64_t e = extents.first; found == map_page_state::mixed && e < extents.last; ++e) {
        words_[e] &= whole(e);
        dirty += static_cast<std::uint64_t>(std::popcount(words_[e]));
    }
    count(page, dirty);
    if (found == map_page_state::mixed && dirty == 0) {
        set_state(page, map_page_state::clean);
    }
    for (std::uint64_t e = extents.first; e < extents.last; ++e) {
        if (add_active && activity_->active(e)) {
            set(e, whole(e));
        }
        if (word(e) != 0) {
            activity_->want({e, e + 1});
        }
    }
}

result<> dirty_map::begin(const map_subject &subject) {
    FS_TRY(state, parse_map_state(map_->bytes()));
    FS_TRY(active, read_activity());
    FS_TRY(identity, file_->identity());
    activity_ = std::make_unique<activity_log>(*file_, layout_, std::move(active));
    for (std::uint64_t page = 0; page < pages(); ++page) {
        begin_page(page);
    }
    state_ = state;
    state_.boot_id = subject.boot_id;
    state_.durable = state.clean ? state.left : state.durable;
    state_.clean = false;
    state_.sync_failed = false; // what it may have cost is dirty by now
    state_.map = mark_of(identity, false);
    state_.volume = subject.volume;
    state_.left = subject.times;
    state_.fine_checksum = 0;
    if (subject.times.told()) {
        last_write().store(std::max(subject.times.modified_ns, subject.times.changed_ns),
                           std::memory_order_relaxed);
    }
    store_state();
    FS_CHECK(map_->sync());
    std::mutex nobody_else;
    std::unique_lock lock(nobody_else);
    return activity_->commit(lock);
}

/// With state_mutex_ held, or nobody else there. Kept over a kill, durable with the next sync of
/// the map.
void dirty_map::store_state() {
    ++state_.sequence;
    store_map_state(map_->bytes().first(map_page_bytes), state_);
}

std::atomic_ref<std::int64_t> dirty_map::last_write() const { return last_write_of(map_->bytes()); }

void dirty_map::note_write(wall_time now) {
    const std::int64_t at = to_ns(now);
    const auto last = last_write();
    const std::int64_t noted = last.load(std::memory_order_relaxed);
    if (at - noted >= last_write_grain_ns || at < noted) { // the latter: the clock was set back
        last.store(at, std::memory_order_relaxed);
    }
}

void dirty_map::note_durable(const file_times &times) {
    const std::lock_guard lock(state_mutex_);
    if (state_.durable != times) {
        state_.durable = times;
        store_state();
    }
}

void dirty_map::mark(bool map_state::*flag) {
    {
        const std::lock_guard lock(state_mutex_);
        if (state_.*flag) {
            return;
        }
        state_.*flag = true;
        store_state();
    }
    if (const auto synced = map_->sync(); !synced) {
        log::warning("{}: a mark for the next start is kept over a kill only: {}", path(),
                     synced.error().text());
    }
}

void dirty_map::note_sync_failed() { mark(&map_state::sync_failed); }
void dirty_map::note_shared() { mark(&map_state::shared); }

result<> dirty_map::sync_last_write() {
    const std::int64_t noted = last_write().load(std::memory_order_relaxed);
    if (noted - last_write_synced_ < last_write_sync_ns && noted >= last_write_synced_) {
        return {};
    }
    FS_CHECK(map_->sync());
    last_write_synced_ = noted;
    return {};
}

result<> dirty_map::mark_clean(const file_times &times) {
    FS_CHECK(map_->sync());
    {
        const std::lock_guard lock(state_mutex_);
        if (state_.sync_failed) {
            return fail(errc::dead,
                        path() + ": a sync failed, so it can't be said that all is on the disk");
        }
        state_.clean = true;
        state_.left = times;
        state_.durable = times;
        state_.fine_checksum = checksum_fine(map_->bytes(), layout_);
        store_state();
    }
    return map_->sync();
}

} // namespace farshore
