#pragma once
// When a dirty region may be called clean: two epochs of "touched" bits instead of a memory for
// each interval.
//
// Every write (and every resolved region of a scan) sets its regions' bits in the current epoch.
// When an interval is closed and no older epoch is open, the current one becomes the older one,
// named by that interval, and a new one begins. When the older epoch's interval is durable at the
// DR site, its regions that are not in the current epoch, not pending and not being written are
// clean, and the place is free again.
//
// Why a region that is being written stays dirty: its interval may be durable at the DR site while
// our own write has not reached the file; killed now, the two sites differ.
//
// A region can so stay dirty for up to two round trips longer than needed; that costs a few digests
// after a crash. Rejected: a list of regions with each interval (memory without bound while the
// line is down).
//
// Threads: the group's lock.

#include "replicator/base/types.hpp"
#include "replicator/capture/paged_bitmap.hpp"

#include <cstdint>
#include <utility>

namespace farshore {

/// The group's part: which intervals the epochs end with.
class epoch_clock {
  public:
    /// A new stream: nothing is touched, the volumes' bits must be reset too.
    void restart() { *this = epoch_clock{}; }
    /// Something was touched: it belongs to the interval that is open now, or a later one.
    void touched() { open_touched_ = true; }
    /// Interval `id` was closed. True: the volumes must rotate their bits.
    bool closed(interval_id id) {
        last_closed_ = id;
        open_touched_ = false;
        return rotate();
    }
    /// True when all touches belong to closed intervals and the current epoch could become the
    /// older one.
    bool rotate() {
        if (older_open_ || open_touched_ || last_closed_.value == 0) {
            return false;
        }
        older_open_ = true;
        older_last_ = last_closed_;
        return true;
    }
    /// The older epoch's intervals are all durable at `durable`: its regions may become clean.
    bool can_settle(interval_id durable) const { return older_open_ && older_last_ <= durable; }
    void settled() { older_open_ = false; }

  private:
    bool older_open_ = false;
    bool open_touched_ = false; ///< since the last close
    interval_id older_last_;
    interval_id last_closed_;
};

/// A volume's part: the touched regions.
class epoch_bits {
  public:
    explicit epoch_bits(std::uint64_t regions = 0) : older_(regions), current_(regions) {}

    void touch(std::uint64_t word, std::uint64_t mask) {
        if ((mask & ~current_.word(word)) != 0) {
            current_.set_word(word, mask);
        }
    }
    /// The regions of `bits` in [first, last).
    void touch_from(const paged_bitmap &bits, std::uint64_t first, std::uint64_t last) {
        current_.add_from(bits, first, last);
    }
    void touch_range(std::uint64_t first, std::uint64_t last) { current_.set_range(first, last); }
    void rotate() {
        std::swap(older_, current_);
        current_.reset();
    }
    void restart() {
        older_.reset();
        current_.reset();
    }
    /// Regions of this word that only the older epoch knows; forgets the word.
    std::uint64_t take_older(std::uint64_t word) {
        const std::uint64_t mask = older_.word(word);
        older_.clear_word(word, mask);
        return mask & ~current_.word(word);
    }
    /// These regions are being written: what the older epoch knows of them goes on in the current
    /// one.
    void carry_over(std::uint64_t first_region, std::uint64_t last_region) {
        for (std::uint64_t w = first_region / 64; w * 64 < last_region; ++w) {
            touch(w, older_.word(w) & word_mask(w, first_region, last_region));
        }
    }
    /// The page is one that only the older epoch knows, and knows all of; forgets it.
    bool take_older_page(std::uint64_t page) {
        if (!older_.page_full(page) || current_.page_in_use(page)) {
            return false;
        }
        const std::uint64_t first = page * paged_bitmap::bits_per_page;
        older_.clear_range(first, first + paged_bitmap::bits_per_page);
        return true;
    }
    const paged_bitmap &older() const { return older_; }
    std::uint64_t memory_bytes() const { return older_.memory_bytes() + current_.memory_bytes(); }

  private:
    paged_bitmap older_;
    paged_bitmap current_;
};

} // namespace farshore
