#pragma once
// How hard to compress: as hard as there is time for. Less while intervals wait for the encoder, most
// while it idles. What waits for the line waits in the spool, behind the encoder, and does not count.
// One step an interval. And for whom the processor is when it doesn't suffice: clients come first
// until the order of writes is at risk. Pure.

#include "dedupe/codec.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/limits.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace farshore::engine {

/// The share of time that goes into encoding, over the last seconds.
class busy_share {
  public:
    /// An interval was encoded from `began` to `ended`; in order of time.
    void add(time_point began, time_point ended) {
        const double all = seconds_of(ended - last_.value_or(began));
        if (all > 0) {
            const double share = std::min(1.0, seconds_of(ended - began) / all);
            share_ += (share - share_) * std::min(1.0, all / seconds_of(memory));
        }
        last_ = ended;
    }
    double value() const { return share_; }

  private:
    static constexpr duration memory = std::chrono::seconds(4);
    double share_ = 1; ///< until more is known: what begins with a first copy stays quick
    std::optional<time_point> last_;
};

/// What is known when an interval's turn comes.
struct encoder_load {
    std::size_t waiting = 0; ///< closed intervals behind it
    duration late_by{};      ///< its first write is so much older than the group's `interval`
    double busy = 1;         ///< busy_share
    bool in_sync = true;     ///< no catch-up: those are in a hurry
    std::uint64_t bytes = 0; ///< memory of the interval
    duration age = std::chrono::seconds(1); ///< of its first write
    double crowded = 0; ///< share in use of the memory for intervals; at 1 the order is lost
};

class level_policy {
  public:
    /// Levels worth having: zstd's between are less than 4 % smaller (docs/decisions/0005); dense saves
    /// 12 to 18 % on databases for five times the time (docs/decisions/0010).
    static constexpr std::array<int, 3> levels = {1, 3, dedupe::encoder_options::dense};
    /// Closed intervals that wait: a scan alone keeps fewer.
    static constexpr std::size_t late_intervals = 4;
    /// Writes that wait so much longer than `interval`. Intervals grow while the encoder is slow, so that
    /// few of them wait.
    static constexpr duration late_time = std::chrono::seconds(1);
    /// Larger intervals would take seconds at dense, minutes when others want the processor.
    static constexpr std::uint64_t dense_bytes_max = 64 * limits::MiB;
    /// Memory a second of an interval's life; above, it is a burst, which must not meet an encoder at
    /// dense nor one that clients keep from the processor.
    static constexpr double dense_rate_max = 64.0 * limits::MiB;
    /// Shares of time: below the one there is time to try dense, above the other dense takes too long.
    static constexpr double idle_share = 0.4;
    static constexpr double busy_share_max = 0.9;
    /// Intervals without dense after it took too long; twice as many each time, up to the last.
    static constexpr std::size_t rest_min = 15;
    static constexpr std::size_t rest_max = 960;
    /// So many intervals at dense, and the next rest is the shortest again.
    static constexpr std::size_t steady = 30;
    /// Shares of memory in use from which the encoder works at the priority of clients' requests,
    /// and from which it doesn't search. A catch-up's scan alone uses up to 0.62.
    static constexpr double urgent_crowd = 0.2;
    static constexpr double quick_crowd = 0.4;
    static constexpr double scan_crowd = 0.7;

    /// For the next interval.
    int next(const encoder_load &load) {
        const int level = unhurried(load);
        return load.crowded > (load.in_sync ? quick_crowd : scan_crowd) ? dedupe::encoder_options::quick : level;
    }
    /// At the priority of clients' requests, not below it. Who writes in a catch-up doesn't wait for
    /// it, so there only memory counts.
    static bool urgent(const encoder_load &load) {
        return load.in_sync ? is_late(load) || is_burst(load) || load.crowded > urgent_crowd : load.crowded > scan_crowd;
    }

  private:
    static bool is_burst(const encoder_load &load) {
        return static_cast<double>(load.bytes) > dense_rate_max * seconds_of(load.age);
    }
    static bool is_late(const encoder_load &load) {
        return load.waiting >= late_intervals || (load.in_sync && load.late_by > late_time);
    }
    int unhurried(const encoder_load &load) {
        const bool late = is_late(load);
        if (step_ == dense_step) {
            if (late || load.busy > busy_share_max) {
                leave_dense(late);
            } else if (++at_dense_ == steady) {
                rest_ = rest_min;
            }
        } else {
            resting_ -= std::min<std::size_t>(resting_, 1);
            if (late) {
                step_ -= std::min<std::size_t>(step_, 1);
            } else if (load.waiting == 0) {
                rise(load);
            }
        }
        return levels[may_be_dense(load) ? step_ : std::min(step_, dense_step - 1)];
    }

    static constexpr std::size_t dense_step = levels.size() - 1;

    static bool may_be_dense(const encoder_load &load) {
        return load.in_sync && load.bytes <= dense_bytes_max && !is_burst(load);
    }
    void rise(const encoder_load &load) {
        if (step_ + 1 < dense_step) {
            ++step_;
        } else if (resting_ == 0 && load.busy < idle_share && may_be_dense(load)) {
            step_ = dense_step;
            at_dense_ = 0;
        }
    }
    void leave_dense(bool late) {
        step_ = late ? 0 : dense_step - 1;
        resting_ = rest_;
        rest_ = std::min(2 * rest_, rest_max);
    }

    std::size_t step_ = dense_step - 1;
    std::size_t at_dense_ = 0;
    std::size_t rest_ = rest_min; ///< the next
    std::size_t resting_ = 0;     ///< intervals left of the present one
};

} // namespace farshore::engine
