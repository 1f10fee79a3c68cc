#pragma once
// What memory_link.cpp and memory_network.cpp share: the state of one connection in memory, and of
// the line that all connections use. Everything is timed by comparing stored moments with the
// clock; there are no background coroutines, so a run depends on nothing but the seed and the order
// of calls.

#include "transport/fifo_lock.hpp"
#include "transport/memory_link.hpp"

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace farshore::transport {

/// Bytes on their way to one side or not yet received by it: what the windows of TCP would hold.
constexpr std::uint64_t memory_window_bytes_max = 4 * 1024 * 1024;
/// Bytes that may wait for a slow line before send() blocks, as TCP_NOTSENT_LOWAT has it.
constexpr std::uint64_t memory_unsent_bytes_max = 128 * 1024;

/// One end of a connection: what is on its way to it, and how it ends.
struct memory_side {
    struct parcel {
        time_point arrival;
        message content;
    };
    std::deque<parcel> inbox;          ///< ordered by arrival
    std::uint64_t window_used = 0;     ///< bytes of inbox, and of messages that vanished
    time_point last_arrival{};         ///< later messages never arrive before this
    std::optional<time_point> fin_at;  ///< the peer's orderly close gets here
    std::optional<time_point> fail_at; ///< from here on every call fails with `failure`
    error failure;
    bool closed = false; ///< by this side
    condition changed;
    fifo_lock send_turn;
    wire_count wire;
    std::string peer_address;
    std::string peer_fingerprint;
};

/// Both ends; side 0 connected, side 1 accepted.
struct memory_channel {
    std::array<memory_side, 2> sides;
    std::string application;
    bool black_hole = false; ///< nothing gets through any more; set by cut() and half_open()

    void fail(int side, time_point at, const error &why);
    /// Drops what has not arrived by `now`.
    void lose_in_flight(time_point now);
};

enum class line_state : std::uint8_t {
    up,
    cut,       ///< links fail, connects fail
    half_open, ///< messages vanish, connects hang
};

struct memory_line {
    memory_line(executor home_, time_source &time_, const memory_network_options &o)
        : home(std::move(home_)), time(time_), options(o), random(o.seed) {}

    executor home;
    time_source &time;
    memory_network_options options;
    std::mt19937_64 random;
    line_state state = line_state::up;
    std::uint64_t faults = 0; ///< changes of `state` so far
    condition changed;
    std::array<time_point, 2> free_at{}; ///< when the line takes the next byte, by direction
    std::map<std::string, memory_network::on_link> listeners;
    std::vector<std::weak_ptr<memory_channel>> channels;
    std::uint64_t carried = 0;
    std::uint64_t accepted = 0;

    /// When `bytes` given to the line now in the direction of `to` arrive; occupies the line.
    time_point transmit(std::uint64_t bytes, int to);
    bool draw(double probability);
    std::vector<std::shared_ptr<memory_channel>> live();
};

/// The link of one side of a channel.
std::unique_ptr<link> make_memory_link(std::shared_ptr<memory_line> line,
                                       std::shared_ptr<memory_channel> channel, int side);

} // namespace farshore::transport
