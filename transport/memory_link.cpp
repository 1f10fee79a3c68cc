// One link in memory: every call compares what is stored with the clock and waits for the next
// moment at which something can change, or for the other side to change it earlier.

#include "transport/memory_link.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "transport/envelope.hpp"
#include "transport/memory_channel.hpp"

#include <algorithm>

namespace farshore::transport {

void memory_channel::fail(int side, time_point at, const error &why) {
    memory_side &s = sides[side];
    if (!s.fail_at || at < *s.fail_at) {
        s.fail_at = at;
        s.failure = error{why.code, why.context + s.peer_address};
    }
    s.changed.notify_all();
}

void memory_channel::lose_in_flight(time_point now) {
    for (memory_side &s : sides) {
        std::erase_if(s.inbox, [&](const auto &p) { return p.arrival > now; });
        if (s.fin_at && *s.fin_at > now) {
            s.fin_at.reset();
        }
    }
}

namespace {

std::optional<time_point> earlier(std::optional<time_point> a, std::optional<time_point> b) {
    return a && b ? std::min(*a, *b) : (a ? a : b);
}

/// Keeps line and channel alive for the coroutines of both calls, so that the link may go first.
struct end {
    std::shared_ptr<memory_line> line;
    std::shared_ptr<memory_channel> channel;
    int side;

    memory_side &own() const { return channel->sides[side]; }
    memory_side &other() const { return channel->sides[1 - side]; }
    time_point now() const { return line->time.now(); }

    /// Why neither call can go on, if so.
    std::optional<error> ended() const {
        if (own().closed) {
            return error{errc::closed, "the link to " + own().peer_address};
        }
        if (own().fail_at && *own().fail_at <= now()) {
            return own().failure;
        }
        return std::nullopt;
    }
    bool peer_has_closed() const { return own().fin_at && *own().fin_at <= now(); }

    /// Waits until this side changes or `moment` comes.
    task<void> wait(std::optional<time_point> moment) const {
        if (moment) {
            co_await own().changed.wait_until(line->time, *moment);
        } else {
            co_await own().changed.wait();
        }
    }
};

/// When the line has room for more of this side's bytes; empty: now.
std::optional<time_point> line_has_room(const end &e) {
    const std::uint64_t rate = e.line->options.bytes_per_second;
    if (rate == 0) {
        return std::nullopt;
    }
    const duration backlog_max(
        std::chrono::nanoseconds(memory_unsent_bytes_max * 1'000'000'000 / rate));
    const time_point room = e.line->free_at[1 - e.side] - backlog_max;
    return room > e.now() ? std::optional(room) : std::nullopt;
}

bool window_has_room(const end &e, std::uint64_t bytes) {
    const std::uint64_t used = e.other().window_used;
    return used == 0 || used + bytes <= memory_window_bytes_max;
}

void put_on_line(const end &e, message m, std::uint64_t bytes) {
    memory_side &to = e.other();
    e.own().wire.sent += bytes;
    to.window_used += bytes;
    if (e.channel->black_hole) {
        return;
    }
    if (e.line->draw(e.line->options.reset_probability)) {
        const error why{std::make_error_code(std::errc::connection_reset), "the connection to "};
        e.channel->lose_in_flight(e.now());
        e.channel->black_hole = true;
        e.channel->fail(e.side, e.now(), why);
        e.channel->fail(1 - e.side, e.now() + e.line->options.delay, why);
        return;
    }
    to.last_arrival = std::max(to.last_arrival, e.line->transmit(bytes, 1 - e.side));
    if (to.closed) {
        to.window_used -= bytes; // nobody reads it; TCP would answer with a reset
        return;
    }
    to.inbox.push_back({to.last_arrival, std::move(m)});
    to.changed.notify_all();
}

task<result<>> send_message(end e, message m) {
    if (m.payload.size() > limits::message_bytes_max) {
        co_return fail(errc::limit, "a message of " + std::to_string(m.payload.size()) + " bytes");
    }
    const std::uint64_t bytes = m.payload.size() + envelope_bytes;
    const auto turn = co_await e.own().send_turn.acquire();
    for (;;) {
        if (auto why = e.ended()) {
            co_return std::unexpected(*why);
        }
        if (e.peer_has_closed()) {
            co_return fail(errc::closed, "the link to " + e.own().peer_address);
        }
        const auto room = line_has_room(e);
        if (!room && window_has_room(e, bytes)) {
            break;
        }
        co_await e.wait(earlier(room, earlier(e.own().fail_at, e.own().fin_at)));
    }
    put_on_line(e, std::move(m), bytes);
    co_return result<>();
}

task<result<message>> receive_message(end e) {
    memory_side &own = e.own();
    for (;;) {
        if (auto why = e.ended()) {
            co_return std::unexpected(*why);
        }
        if (!own.inbox.empty() && own.inbox.front().arrival <= e.now()) {
            message m = std::move(own.inbox.front().content);
            own.inbox.pop_front();
            const std::uint64_t bytes = m.payload.size() + envelope_bytes;
            own.wire.received += bytes;
            own.window_used -= bytes;
            e.other().changed.notify_all(); // it may wait for the window
            co_return m;
        }
        if (own.inbox.empty() && e.peer_has_closed()) {
            co_return fail(errc::closed, own.peer_address + " closed the link");
        }
        const auto next = own.inbox.empty() ? own.fin_at : std::optional(own.inbox.front().arrival);
        co_await e.wait(earlier(next, own.fail_at));
    }
}

class memory_link final : public link {
  public:
    explicit memory_link(end e) : end_(std::move(e)) {}
    ~memory_link() override { close_now(); }

    task<result<>> send(message m) override { return send_message(end_, std::move(m)); }
    task<result<message>> receive() override { return receive_message(end_); }
    void close() override { close_now(); }

    const std::string &peer_address() const override { return end_.own().peer_address; }
    const std::string &peer_fingerprint() const override { return end_.own().peer_fingerprint; }
    const std::string &application() const override { return end_.channel->application; }
    wire_count wire() const override { return end_.own().wire; }

  private:
    void close_now() {
        memory_side &own = end_.own();
        if (own.closed) {
            return;
        }
        own.closed = true;
        own.inbox.clear();
        own.window_used = 0;
        own.changed.notify_all();
        const bool failed = own.fail_at && *own.fail_at <= end_.now();
        if (end_.channel->black_hole || failed) {
            return; // the farewell does not get through either
        }
        memory_side &to = end_.other();
        to.fin_at = std::max(to.last_arrival, end_.line->transmit(0, 1 - end_.side));
        to.last_arrival = *to.fin_at;
        to.changed.notify_all();
    }

    const end end_;
};

} // namespace

std::unique_ptr<link> make_memory_link(std::shared_ptr<memory_line> line,
                                       std::shared_ptr<memory_channel> channel, int side) {
    return std::make_unique<memory_link>(end{std::move(line), std::move(channel), side});
}

} // namespace farshore::transport
