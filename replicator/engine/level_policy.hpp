#pragma once
// How hard to compress: as hard as is worth it, less while intervals wait for the encoder. What waits
// for the line waits in the spool, behind the encoder, and does not count. One step an interval. Pure.

#include <array>
#include <cstddef>

namespace farshore::engine {

class level_policy {
  public:
    /// zstd levels worth having: 6 saves 2 to 3 % for five times the time of 3 (docs/decisions/0005).
    static constexpr std::array<int, 2> levels = {1, 3};
    /// Closed intervals that wait: a scan alone keeps fewer.
    static constexpr std::size_t late_intervals = 4;

    /// For the next interval; `waiting`: closed ones behind it.
    int next(std::size_t waiting) {
        if (waiting >= late_intervals) {
            step_ -= step_ > 0 ? 1 : 0;
        } else if (waiting == 0 && step_ + 1 < levels.size()) {
            ++step_;
        }
        return levels[step_];
    }

  private:
    std::size_t step_ = levels.size() - 1;
};

} // namespace farshore::engine
