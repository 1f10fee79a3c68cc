#pragma once
// Hints for the encoder, gathered by the scan of a catch-up on the disk pool: where content stands
// that the DR site has and that never went through the encoder (a seeded copy, what was there
// before a restart).

#include "dedupe/codec.hpp"

#include <mutex>
#include <utility>
#include <vector>

namespace farshore {

class known_places {
  public:
    /// Hints beyond the limit are dropped: the encoder takes them at its next interval.
    void add(std::vector<dedupe::known_place> more) {
        const std::lock_guard lock(mutex_);
        if (places_.size() + more.size() <= places_max) {
            places_.insert(places_.end(), more.begin(), more.end());
        }
    }
    /// Time to take them though no interval is waiting.
    bool many() const {
        const std::lock_guard lock(mutex_);
        return places_.size() > places_max / 4;
    }
    std::vector<dedupe::known_place> take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(places_, {});
    }

  private:
    static constexpr std::size_t places_max = 1 << 19; ///< 12 MiB, of 200 MiB of blocks
    mutable std::mutex mutex_;                         // two pools; held for a copy
    std::vector<dedupe::known_place> places_;
};

} // namespace farshore
