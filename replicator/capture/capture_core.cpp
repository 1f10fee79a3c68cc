#include "replicator/capture/capture_core.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <cerrno>

namespace farshore {

block_edges::block_edges(const captured_volume &v, byte_range range) : blocks(blocks_of(range)) {
    const byte_range whole = v.bytes_of(blocks);
    const bool begins_late = range.offset > whole.offset;
    const bool ends_early = range.end() < whole.end();
    head = begins_late || (ends_early && blocks.count() == 1);
    tail = ends_early && blocks.count() > 1;
}

result<bool> block_edges::read(const captured_volume &v, patience p) {
    if (!any()) {
        return true;
    }
    old = buffer(2 * block_bytes);
    const auto read_one = [&](std::uint64_t block, bytes_span out) -> result<bool> {
        const byte_range at = v.bytes_of({block, block + 1});
        std::ranges::fill(out.subspan(at.length), std::byte{0});
        if (p == patience::never) {
            return v.data->read_at_cached(at.offset, out.first(at.length));
        }
        FS_CHECK(v.data->read_at(at.offset, out.first(at.length)));
        return true;
    };
    if (head) {
        FS_TRY(done, read_one(blocks.first, old.span().first(block_bytes)));
        if (!done) {
            return false;
        }
    }
    return tail ? read_one(blocks.last - 1, old.span().last(block_bytes)) : result<bool>(true);
}

bool capture_core::enter_range(std::unique_lock<std::mutex> &lock, captured_volume &v,
                               index_range blocks, patience p, range_table::ticket &ticket) {
    if (const auto held = v.ranges.try_enter(blocks)) {
        ticket = *held;
        return true;
    }
    if (p == patience::never) {
        return false;
    }
    ticket = v.ranges.enqueue(blocks);
    ++v.range_waiters;
    v.range_left.wait(lock, [&] { return v.ranges.granted(ticket); });
    --v.range_waiters;
    return true;
}

void capture_core::leave_range_locked(captured_volume &v, range_table::ticket ticket) {
    v.ranges.leave(ticket);
    if (v.range_waiters > 0) {
        v.range_left.notify_all();
    }
}

result<bool> capture_core::enter_write(std::unique_lock<std::mutex> &lock, captured_volume &v,
                                       index_range blocks, patience p,
                                       range_table::ticket &ticket) {
    if (stopped) {
        return fail(errc::closed, "volume " + v.config.name + " is not served any more");
    }
    const index_range regions = regions_of_blocks(blocks);
    const index_range extents = {regions.first / regions_per_extent,
                                 ceil_div(regions.last, regions_per_extent)};
    activity_log &activity = v.map->activity();
    if (p == patience::never && !activity.all_active(extents)) {
        return false;
    }
    if (!enter_range(lock, v, blocks, p, ticket)) {
        return false;
    }
    if (const auto active = activity.activate(lock, extents); !active) {
        leave_range_locked(v, ticket);
        const std::string text = "volume " + v.config.name +
                                 ": a write is refused, since it can't be marked in " +
                                 v.map->path() + ": " + active.error().text();
        if (!std::exchange(v.refusal_logged, true)) {
            log::error("{}", text);
        }
        return fail_errno(EIO, text);
    }
    v.map->note_write(options.time->wall());
    mark_locked(v, regions);
    return true;
}

void capture_core::touch_map(const captured_volume &v, index_range blocks) const {
    const index_range regions = regions_of_blocks(blocks);
    for (std::uint64_t w = regions.first / 64; w * 64 < regions.last;) {
        const std::uint64_t page = w / words_per_map_page;
        const bool whole = w * 64 >= regions.first && w % words_per_map_page == 0 &&
                           (w + words_per_map_page) * 64 <= regions.last;
        if (whole || v.map->state(page) == map_page_state::dirty) { // its state is all that changes
            w = (page + 1) * words_per_map_page;
            continue;
        }
        const std::uint64_t mask = word_mask(w, regions.first, regions.last);
        if ((mask & ~v.map->word(w)) != 0) {
            v.map->touch(w);
            v.map->touch_state(page);
            // The next word that may lie in another page of the file.
            w = (w / paged_bitmap::words_per_page + 1) * paged_bitmap::words_per_page;
        } else {
            ++w;
        }
    }
}

void capture_core::touch_epoch_locked(captured_volume &v, std::uint64_t word, std::uint64_t mask) {
    if (stream.value != 0) {
        v.epochs.touch(word, mask);
        clock.touched();
    }
}

void capture_core::mark_locked(captured_volume &v, index_range regions) {
    constexpr std::uint64_t page = paged_bitmap::bits_per_page;
    for (std::uint64_t w = regions.first / 64; w * 64 < regions.last;) {
        if (w * 64 % page == 0 && w * 64 >= regions.first && w * 64 + page <= regions.last) {
            // Whole pages at once: everything may be marked.
            const index_range pages{w * 64 / page, regions.last / page};
            mark_pages_locked(v, pages);
            w = pages.last * page / 64;
            continue;
        }
        const std::uint64_t mask = word_mask(w, regions.first, regions.last);
        if (v.map->set(w, mask) != 0) {
            v.map->activity().note_use(w);
        }
        touch_epoch_locked(v, w, mask);
        ++w;
    }
    if (gathering) {
        v.pending.set_range(regions.first, regions.last);
    }
    if (!v.sampled.empty()) {
        v.sampled.clear_range(regions.first, regions.last);
    }
    if (v.verified.any_in(regions.first, regions.last)) {
        drop_verify_locked(v, {regions.first * region_bytes, regions.count() * region_bytes});
    }
}

void capture_core::mark_pages_locked(captured_volume &v, index_range pages) {
    for (std::uint64_t p = pages.first; p < pages.last; ++p) {
        v.map->set_page(p);
    }
    v.map->activity().note_use(
        index_range{pages.first * words_per_map_page, pages.last * words_per_map_page});
    if (stream.value != 0) {
        v.epochs.touch_range(pages.first * regions_per_map_page, pages.last * regions_per_map_page);
        clock.touched();
    }
}

void capture_core::drop_verify_locked(captured_volume &v, byte_range range) {
    if (open) {
        std::erase_if(open->commit.verify, [&](const verify_entry &e) {
            return e.volume == v.index && e.range.overlaps(range);
        });
    }
}

bool capture_core::fits_locked(std::uint64_t blocks) {
    const std::uint64_t needed = open->memory_bytes() + open->more_bytes(blocks);
    if (needed > options.memory.bytes_max / 2) {
        ask_room_locked(needed);
    }
    return needed <= options.memory.bytes_max;
}

void capture_core::ask_room_locked(std::uint64_t bytes) {
    if (options.more_memory) {
        options.memory = options.more_memory(bytes);
    }
}

void capture_core::overflow_locked() {
    fall_back_locked("the open interval outgrew its memory of " +
                     std::to_string(options.memory.bytes_max >> 20) + " MiB");
}

bool capture_core::large_locked() const {
    return open->data_blocks() * block_bytes >= options.memory.interval_bytes ||
           open->entry_count() >= limits::interval_entries_max;
}

void capture_core::check_large_locked() {
    if (open->attention_asked || !large_locked()) {
        return;
    }
    ask_room_locked(2 * open->memory_bytes());
    if (large_locked()) {
        open->attention_asked = true;
        attention_due = true;
    }
}

void capture_core::note_client_write_locked(std::uint64_t bytes) {
    written_bytes += bytes;
    if (open) {
        open->written_bytes += bytes;
        if (!open->first_write) {
            open->first_write = options.time->now();
        }
    }
}

void capture_core::drop_open_locked() {
    if (open) {
        dropped.push_back(std::move(open));
    }
    mode = capture_mode::tracking;
}

bool capture_core::known_again_locked(captured_volume &v, index_range blocks) {
    auto at = v.unreadable.lower_bound(blocks.first);
    if (at == v.unreadable.end() || *at >= blocks.last) {
        return false;
    }
    while (at != v.unreadable.end() && *at < blocks.last) {
        const std::uint64_t region = *at / blocks_per_region;
        at = v.unreadable.erase(at);
        const auto first = v.unreadable.lower_bound(region * blocks_per_region);
        if (first == v.unreadable.end() || *first / blocks_per_region != region) {
            v.held.clear_word(region / 64, 1ULL << (region % 64));
        }
    }
    return true;
}

void capture_core::fall_back_locked(std::string reason) {
    if (mode != capture_mode::recording) {
        return;
    }
    log::warning("capture goes on with the dirty map only: {}", reason);
    drop_open_locked();
    fallback = std::move(reason);
    attention_due = true;
}

void capture_core::write_failed_locked(captured_volume &v, index_range blocks, const error &why) {
    // Once more, and in the current epoch: an acknowledgement of an older interval, perhaps of the
    // one that recorded this very write, must not make the regions clean.
    mark_locked(v, regions_of_blocks(blocks));
    fall_back_locked("a write to volume " + v.config.name + " failed: " + why.text());
}

std::uint64_t capture_core::pending_regions_locked() const {
    std::uint64_t sum = 0;
    for (const auto &v : volumes) {
        sum += v->pending.count();
    }
    return sum;
}

void capture_core::free_dropped() {
    std::vector<owned_core> gone;
    const std::lock_guard lock(mutex);
    std::swap(gone, dropped);
}

result<> capture_core::sync_volume(captured_volume &v, bool with_times) {
    result<> synced = with_times ? v.data->sync_all() : v.data->sync_data();
    if (synced) {
        return synced;
    }
    v.map->note_sync_failed();
    bool look = false;
    {
        // Any write since the last good sync may be lost, and an extent leaves the activity log
        // only after a good sync: so all of the active ones may differ from what the DR site has.
        const std::lock_guard lock(mutex);
        const activity_log &activity = v.map->activity();
        for (std::uint64_t page = 0; page < v.map->pages(); ++page) {
            index_range e{page * words_per_map_page,
                          std::min((page + 1) * words_per_map_page, v.map->words())};
            if (activity.all_active(e)) {
                mark_locked(v, {e.first * regions_per_extent,
                                std::min(e.last * regions_per_extent, v.regions)});
                continue;
            }
            for (auto at = activity.next_active(e); at; at = activity.next_active(e)) {
                mark_locked(v, {*at * regions_per_extent,
                                std::min((*at + 1) * regions_per_extent, v.regions)});
                e.first = *at + 1;
            }
        }
        fall_back_locked("a sync of volume " + v.config.name + " failed: " + synced.error().text());
        look = take_attention_locked();
    }
    ask_attention(look);
    return synced;
}

} // namespace farshore
