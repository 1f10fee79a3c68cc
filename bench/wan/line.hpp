#pragma once
// One direction of an emulated wide-area line: a tail-drop queue in front of a fixed rate, then a
// delay. Pure: packets and times in, packets and times out; chance comes from a seed.
//
// Model: a packet that survives `loss` waits behind those before it (the queue, at most `queue_ms`
// of line time; a packet that would wait longer is dropped), takes length / rate to be sent, then
// travels `delay_ms` plus a uniform part of `jitter_ms`. Jitter keeps the order, as one path does;
// `reorder_percent` of the packets take `reorder_ms` more and are overtaken.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <random>
#include <string_view>
#include <vector>

namespace farshore::wan {

using moment = std::chrono::steady_clock::time_point;
using span_of_time = std::chrono::nanoseconds;

struct line_settings {
    double delay_ms = 0;
    double jitter_ms = 0;
    double rate_mbit = 0; ///< 0: unlimited
    double queue_ms = 100;
    double loss_percent = 0;
    double reorder_percent = 0;
    double reorder_ms = 5;

    /// The setting called `name`, or nullptr.
    double *find(std::string_view name);
    bool shaped() const;
};

enum class line_fate : std::uint8_t {
    carry,       ///< the ordinary line
    swallow,     ///< half-open: packets vanish, nobody is told
    unreachable, ///< cut: packets vanish and the sender gets "host unreachable"
};

struct line_counters {
    std::uint64_t packets_in = 0, bytes_in = 0;   ///< offered by the sender
    std::uint64_t packets_out = 0, bytes_out = 0; ///< delivered
    std::uint64_t lost = 0, queue_dropped = 0, cut_dropped = 0, reordered = 0;
};

/// A packet on its way. `slot` names its bytes in the pool of the caller.
struct travelling {
    moment due;
    std::uint64_t order = 0;
    std::uint32_t slot = 0;
    std::uint32_t length = 0;
    bool operator>(const travelling &other) const {
        return due != other.due ? due > other.due : order > other.order;
    }
};

class line {
  public:
    static constexpr std::size_t packets_max = 131'072; ///< in flight: bounds memory

    explicit line(std::uint64_t seed) : random_(seed) {}

    /// True when the packet travels (its slot is then owned by the line until take_due).
    bool accept(std::uint32_t slot, std::uint32_t length, moment now);
    /// The next packet that has arrived, if any. Under a fate other than carry it is to be dropped:
    /// `deliver` says so.
    struct arrival {
        travelling packet;
        bool deliver = true;
    };
    std::optional<arrival> take_due(moment now);
    std::optional<moment> next_due() const;

    line_settings &settings() { return settings_; }
    const line_settings &settings() const { return settings_; }
    const line_counters &counters() const { return counters_; }
    void set_fate(line_fate fate) { fate_ = fate; }
    line_fate fate() const { return fate_; }
    std::size_t in_flight() const { return flight_.size(); }

  private:
    bool chance(double percent);

    line_settings settings_;
    line_counters counters_;
    line_fate fate_ = line_fate::carry;
    std::mt19937_64 random_;
    moment free_at_{};      ///< when the rate limiter has sent all that it accepted
    moment last_arrival_{}; ///< keeps the order under jitter and changes of delay
    std::uint64_t order_ = 0;
    std::priority_queue<travelling, std::vector<travelling>, std::greater<>> flight_;
};

} // namespace farshore::wan
