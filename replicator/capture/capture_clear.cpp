// Which regions become clean when the DR site has acknowledged an interval (epochs.hpp).

#include "replicator/capture/capture_core.hpp"

namespace farshore {

void capture_core::rotate_epochs_locked() {
    for (const auto &v : volumes) {
        v->epochs.rotate();
    }
}

// A page of the bitmap is a page of the map file: one lock hold, at most 32,768 regions.
void capture_core::clear_page_locked(captured_volume &v, std::uint64_t page) {
    const std::uint64_t first = page * paged_bitmap::words_per_page;
    const std::uint64_t last = std::min(first + paged_bitmap::words_per_page, v.map->words());
    for (const range_table::entry &e : v.ranges.entries()) {
        const index_range regions = regions_of_blocks(e.blocks);
        const std::uint64_t from = std::max(regions.first, first * 64);
        const std::uint64_t to = std::min(regions.last, last * 64);
        if (from < to) {
            // No touch of the open interval by itself: what was recorded in it touched it then.
            v.epochs.carry_over(from, to);
        }
    }
    for (std::uint64_t w = first; w < last; ++w) {
        const std::uint64_t clean = v.epochs.take_older(w) & ~v.pending.word(w) & ~v.held.word(w);
        if (clean != 0) {
            v.map->clear(w, clean);
        }
    }
}

/// A page that is clean as a whole: nothing of it is pending, held, in the current epoch or being
/// written. Then its fine bits are not touched at all.
bool capture_core::clear_whole_page_locked(captured_volume &v, std::uint64_t page) {
    const index_range regions{page * paged_bitmap::bits_per_page,
                              (page + 1) * paged_bitmap::bits_per_page};
    const bool written = std::ranges::any_of(v.ranges.entries(), [&](const range_table::entry &e) {
        const index_range r = regions_of_blocks(e.blocks);
        return r.first < regions.last && regions.first < r.last;
    });
    if (written || v.pending.page_in_use(page) || v.held.page_in_use(page) ||
        !v.epochs.take_older_page(page)) {
        return false;
    }
    v.map->clear_page(page);
    return true;
}

void capture_core::clear_older(std::unique_lock<std::mutex> &lock) {
    constexpr std::uint64_t pages_each_hold = 256;
    const std::uint64_t began_in = run;
    for (const auto &v : volumes) {
        for (std::uint64_t page = 0; page < v->epochs.older().page_count(); ++page) {
            if (page % pages_each_hold == pages_each_hold - 1) { // clients want the lock too
                lock.unlock();
                lock.lock();
                if (run != began_in) {
                    return;
                }
            }
            if (!v->epochs.older().page_in_use(page) || clear_whole_page_locked(*v, page)) {
                continue;
            }
            lock.unlock();
            v->map->touch(page * paged_bitmap::words_per_page);
            lock.lock();
            if (run != began_in) {
                return; // new epochs began
            }
            clear_page_locked(*v, page);
        }
    }
    clock.settled();
}

void capture_core::clear_acknowledged(std::unique_lock<std::mutex> &lock) {
    // At most twice: first the older epoch, then what was touched since, if that belongs to closed
    // intervals only. What is being written at this moment is carried over each time; maintain()
    // asks again.
    for (int epoch = 0; epoch < 2; ++epoch) {
        if (clock.rotate()) {
            rotate_epochs_locked();
        }
        if (!clock.can_settle(acknowledged)) {
            return;
        }
        clear_older(lock);
    }
}

void capture_group::durable(stream_position position, const digest16 &receiver) {
    const std::lock_guard one_at_a_time(impl_->durable_mutex);
    std::unique_lock lock(impl_->mutex);
    if (position.stream != impl_->stream || position.stream.value == 0) {
        return;
    }
    impl_->acknowledged = std::max(impl_->acknowledged, position.interval);
    lock.unlock();
    impl_->state->acknowledge(position, receiver);
    lock.lock();
    impl_->clear_acknowledged(lock);
}

void capture_group::differs_in(const std::vector<pending_range> &ranges) {
    for (const auto &v : impl_->volumes) {
        const std::lock_guard lock(impl_->mutex);
        for (std::uint64_t page = 0;
             v->map->verdict().what == map_case::missing && page < v->map->pages(); ++page) {
            v->map->clear_page(page);
        }
    }
    for (const pending_range &r : ranges) {
        mark_dirty(r.volume, r.range);
    }
}

} // namespace farshore
