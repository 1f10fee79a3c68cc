#pragma once
// When a catch-up begins after clients wrote more than memory holds: not while they go on like
// that. The comparison would find what is already being written anew, and take processor time and
// memory bandwidth from the writers. So it waits until they write half as fast as they did, and
// never for long. Pure.

#include "replicator/base/clock.hpp"
#include "replicator/base/limits.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace farshore {

class catch_up_hold {
  public:
    static constexpr duration sample_time = std::chrono::milliseconds(250);
    /// What is at risk grows all the while, and slower writers may never come.
    static constexpr duration hold_max = std::chrono::seconds(30);
    /// Bytes a second that a catch-up keeps up with on any machine; writing more slowly is no bulk.
    static constexpr double bulk_rate = 32.0 * limits::MiB;

    /// Order was lost to writers; `written`: bytes that clients have written so far.
    void begin(time_point now, std::uint64_t written) {
        until_ = now + hold_max;
        highest_ = rate_ = 0;
        sampled_at_ = now;
        sampled_ = written;
    }
    void end() { until_.reset(); }

    /// Whether to wait on; ask again after `sample_time`.
    bool holds(time_point now, std::uint64_t written) {
        if (!until_) {
            return false;
        }
        if (now - sampled_at_ >= sample_time) {
            rate_ = static_cast<double>(written - sampled_) / seconds_of(now - sampled_at_);
            highest_ = std::max(highest_, rate_);
            sampled_at_ = now;
            sampled_ = written;
            if (rate_ < std::max(bulk_rate, highest_ / 2)) {
                until_.reset();
            }
        }
        if (until_ && now >= *until_) {
            until_.reset();
        }
        return until_.has_value();
    }
    bool active() const { return until_.has_value(); }
    /// Bytes a second of the last sample; 0 before the first.
    double rate() const { return rate_; }

  private:
    std::optional<time_point> until_;
    double rate_ = 0;
    double highest_ = 0; ///< since begin()
    time_point sampled_at_{};
    std::uint64_t sampled_ = 0;
};

} // namespace farshore
