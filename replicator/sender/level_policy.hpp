#pragma once
// How hard to compress: as hard as there is time for. Less while intervals wait for the encoder,
// most while it idles. What waits for the line waits in the spool, behind the encoder, and does not
// count. One step an interval. And for whom the processor is when it doesn't suffice: clients come
// first until the order of writes is at risk. Pure.

#include "dedupe/codec.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/seldom.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace farshore {

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
    bool awaited = false;    ///< somebody waits for a barrier to be at the DR site
    std::uint64_t bytes = 0; ///< memory of the interval
    duration age = std::chrono::seconds(1);       ///< of its first write
    duration filled_in = std::chrono::seconds(1); ///< from its first write until it was closed
    std::uint64_t memory_used = 0;                ///< by intervals, open and closed
    std::uint64_t memory_max = limits::GiB;       ///< beyond, the order is lost

    double crowded() const {
        return static_cast<double>(memory_used) / static_cast<double>(memory_max);
    }
    double bytes_per_second() const { return rate(age); }
    double filled_per_second() const { return rate(filled_in); }

  private:
    double rate(duration time) const {
        return static_cast<double>(bytes) / std::max(seconds_of(time), 1e-3);
    }
};

/// How long encoding takes, whatever keeps it from the processor.
class encode_pace {
  public:
    /// What is believed until more is known.
    explicit constexpr encode_pace(double bytes_per_second)
        : usual_(1 / bytes_per_second), seconds_a_byte_(usual_) {}

    void took(std::uint64_t bytes, duration time) {
        if (bytes >= bytes_min) {
            seconds_a_byte_ +=
                (seconds_of(time) / static_cast<double>(bytes) - seconds_a_byte_) * newest_share;
        }
    }
    /// An interval was encoded in another way: what was seen last may be over.
    void passed_over() { seconds_a_byte_ += (usual_ - seconds_a_byte_) * forgotten_share; }
    double seconds(std::uint64_t bytes) const {
        return static_cast<double>(bytes) * seconds_a_byte_;
    }

  private:
    static constexpr std::uint64_t bytes_min = limits::MiB; ///< less says nothing
    static constexpr double newest_share = 0.3;
    static constexpr double forgotten_share = 0.05;
    double usual_;
    double seconds_a_byte_;
};

/// How hard it is tried while there is no hurry, from the least.
enum class encoder_step : std::uint8_t { quickest, usual, dense };
constexpr std::size_t encoder_steps = 3;

/// What an interval's turn shows; the first that holds.
enum class encoder_event : std::uint8_t {
    late,    ///< too many intervals wait, or writes too long
    dear,    ///< at dense: it takes nearly all of the time
    waiting, ///< something waits
    idle,    ///< nothing does, and there is time for dense
    free,    ///< nothing does
};
constexpr std::size_t encoder_events = 5;

/// The table. Up one step at a time and only when nothing waits; from dense at once to the step
/// that is quick enough.
constexpr encoder_step next_step(encoder_step step, encoder_event event) {
    using enum encoder_step;
    constexpr encoder_step table[encoder_steps][encoder_events] = {
        //           late      dear      waiting   idle   free
        /* quickest */ {quickest, quickest, quickest, usual, usual},
        /* usual    */ {quickest, usual, usual, dense, usual},
        /* dense    */ {quickest, usual, dense, dense, dense},
    };
    return table[static_cast<std::size_t>(step)][static_cast<std::size_t>(event)];
}

class level_policy {
  public:
    /// Levels worth having: zstd's between are less than 4 % smaller (docs/decisions/0005); dense
    /// saves 12 to 18 % on databases for five times the time (docs/decisions/0010).
    static constexpr std::array<int, 3> levels = {1, 3, dedupe::encoder_options::dense};
    /// Closed intervals that wait: a scan alone keeps fewer.
    static constexpr std::size_t late_intervals = 4;
    /// Writes that wait so much longer than `interval`. Intervals grow while the encoder is slow,
    /// so that few of them wait.
    static constexpr duration late_time = std::chrono::seconds(1);
    /// Larger intervals would take seconds at dense, minutes when others want the processor.
    static constexpr std::uint64_t dense_bytes_max = 64 * limits::MiB;
    /// Memory a second of an interval's life; above, it is a burst, which must not meet an encoder
    /// at dense nor one that clients keep from the processor.
    static constexpr double dense_rate_max = 64.0 * limits::MiB;
    /// Memory a second while it filled; above, clients write faster than any encoder could follow
    /// for long.
    static constexpr double flood_rate = 512.0 * limits::MiB;
    /// Smaller intervals say nothing about that.
    static constexpr std::uint64_t flood_bytes_min = 4 * limits::MiB;
    /// Shares of time: below the one there is time to try dense, above the other dense takes too
    /// long.
    static constexpr double idle_share = 0.4;
    static constexpr double busy_share_max = 0.9;
    /// Intervals without dense after it took too long; twice as many each time, up to the last.
    static constexpr std::uint32_t rest_min = 15;
    static constexpr std::uint32_t rest_max = 960;
    /// So many intervals at dense, and the next rest is the shortest again.
    static constexpr std::size_t steady = 30;
    /// Share of memory in use from which the encoder works at the priority of clients' requests.
    static constexpr double urgent_crowd = 0.2;
    /// And what it may come to while an interval is encoded; if searching takes too long for that,
    /// it isn't searched.
    static constexpr double quick_crowd = 0.5;
    /// Both, in a catch-up: its scan alone uses up to 0.62, and waits then.
    static constexpr double scan_crowd = 0.7;

    /// For the next interval.
    int next(const encoder_load &load) {
        int level = unhurried(load);
        if (level == dedupe::encoder_options::dense && outgrows(load, dense_pace_)) {
            level = level_of(encoder_step::usual);
        }
        if (load.in_sync && is_burst(load)) {
            level = levels.front();
        }
        return outgrows(load, search_pace_) ? dedupe::encoder_options::quick : level;
    }
    /// An interval of so many bytes of memory took so long at a level of next().
    void took(int level, std::uint64_t bytes, duration time) {
        if (level == dedupe::encoder_options::dense) {
            dense_pace_.took(bytes, time);
        } else {
            dense_pace_.passed_over();
        }
        if (level == dedupe::encoder_options::quick) {
            search_pace_.passed_over();
        } else if (level != dedupe::encoder_options::dense) {
            search_pace_.took(bytes, time);
        }
    }
    /// At the priority of clients' requests, not below it: on a host that has no time to spare the
    /// DR site would fall behind without end, and a catch-up of 64 MiB took 90 s. Not in a flood:
    /// it is over before memory is full, or order is lost whatever the encoder does, and clients
    /// alone would pay.
    static bool urgent(const encoder_load &load) {
        if (load.awaited || load.late_by > late_time) {
            return true;
        }
        if (load.in_sync && load.bytes >= flood_bytes_min &&
            load.filled_per_second() > flood_rate) {
            return false;
        }
        return load.in_sync ? is_late(load) || is_burst(load) || load.crowded() > urgent_crowd
                            : load.crowded() > scan_crowd;
    }

  private:
    static bool is_burst(const encoder_load &load) {
        return load.bytes_per_second() > dense_rate_max;
    }
    /// When clients go on as they did in this interval. A scan waits for the encoder by itself.
    static bool outgrows(const encoder_load &load, const encode_pace &pace) {
        if (!load.in_sync) {
            return load.crowded() > scan_crowd;
        }
        const double grows = load.bytes_per_second() * pace.seconds(load.bytes);
        return load.crowded() + grows / static_cast<double>(load.memory_max) > quick_crowd;
    }
    static bool is_late(const encoder_load &load) {
        return load.waiting >= late_intervals || (load.in_sync && load.late_by > late_time);
    }
    static bool may_be_dense(const encoder_load &load) {
        return load.in_sync && load.bytes <= dense_bytes_max && !is_burst(load);
    }
    static int level_of(encoder_step step) { return levels[static_cast<std::size_t>(step)]; }
    encoder_event event_of(const encoder_load &load, bool rested) const {
        return is_late(load)                                                ? encoder_event::late
               : step_ == encoder_step::dense && load.busy > busy_share_max ? encoder_event::dear
               : load.waiting > 0                                           ? encoder_event::waiting
               : rested && load.busy < idle_share && may_be_dense(load)     ? encoder_event::idle
                                                                            : encoder_event::free;
    }
    int unhurried(const encoder_load &load) {
        const encoder_step before = step_;
        const bool rested = before == encoder_step::dense || dense_.turn();
        step_ = next_step(before, event_of(load, rested));
        if (before == encoder_step::dense && step_ != before) {
            dense_.missed();
            at_dense_ = 0;
        } else if (before == encoder_step::dense && ++at_dense_ == steady) {
            dense_.paid();
        }
        return level_of(may_be_dense(load) ? step_ : std::min(step_, encoder_step::usual));
    }

    encoder_step step_ = encoder_step::usual;
    std::size_t at_dense_ = 0; ///< intervals in a row
    seldom dense_{rest_min, rest_max};
    encode_pace search_pace_{100.0 * limits::MiB};
    encode_pace dense_pace_{40.0 * limits::MiB};
};

} // namespace farshore
