#pragma once
// How hard to compress: harder while the line is what everything waits for and the processor has time,
// less hard while intervals wait for the encoder. One step an interval. Pure.

#include "replicator/base/clock.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace farshore::engine {

class level_policy {
  public:
    /// What is known when an interval is about to be encoded.
    struct load {
        duration encoding{};              ///< how long the last interval took to encode
        duration since_last{};            ///< from its begin to now
        std::size_t waiting = 0;          ///< closed intervals behind this one
        std::uint64_t held_intervals = 0; ///< encoded and not yet durable at the receiver
        std::uint64_t held_bytes = 0;
    };

    /// zstd levels worth having: each costs about twice the time of the one before, the last four times, and
    /// saves 2 to 5 % (docs/performance.md).
    static constexpr std::array<int, 4> levels = {1, 3, 6, 12};
    /// The line is behind: one or two intervals are always on their way.
    static constexpr std::uint64_t backlog_intervals = 3;
    static constexpr std::uint64_t backlog_bytes = 2 << 20;
    /// The encoder is behind: a scan alone keeps fewer waiting.
    static constexpr std::size_t late_intervals = 4;

    int level() const { return levels[step_]; }
    int next(const load &l) {
        const bool line_late = l.held_intervals >= backlog_intervals && l.held_bytes > backlog_bytes;
        const bool encoder_late = l.waiting >= late_intervals;
        const bool busy = l.encoding * 4 > l.since_last * 3;
        const bool idle = l.encoding * 6 < l.since_last; // a step takes up to four times as long
        if ((busy || encoder_late) && step_ > usual) {
            --step_;
        } else if (encoder_late && !line_late) {
            step_ -= step_ > 0 ? 1 : 0;
        } else if (line_late) {
            step_ += idle && step_ + 1 < levels.size() ? 1 : 0;
        } else if (step_ != usual) {
            step_ += step_ < usual ? 1 : -1;
        }
        return level();
    }

  private:
    static constexpr std::size_t usual = 2;
    std::size_t step_ = usual;
};

} // namespace farshore::engine
