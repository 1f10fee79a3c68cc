// The line in memory: its rate and delay, its faults, and how connections come about on it.

#include "transport/memory_channel.hpp"

#include <algorithm>
#include <cerrno>

namespace farshore::transport {

time_point memory_line::transmit(std::uint64_t bytes, int to) {
    const time_point now = time.now();
    time_point &free = free_at[to];
    free = std::max(free, now);
    if (options.bytes_per_second > 0) {
        free += std::chrono::nanoseconds(static_cast<std::int64_t>(
            static_cast<double>(bytes) * 1e9 / static_cast<double>(options.bytes_per_second)));
    }
    carried += bytes;
    duration delay = options.delay;
    if (options.jitter > duration::zero()) {
        // Not std::uniform_int_distribution: its algorithm is the library's own affair, and a seed
        // must mean the same run everywhere.
        delay += duration(random() % (static_cast<std::uint64_t>(options.jitter.count()) + 1));
    }
    return free + delay;
}

bool memory_line::draw(double probability) {
    if (probability <= 0) {
        return false;
    }
    return static_cast<double>(random() >> 11) * 0x1p-53 < probability;
}

std::vector<std::shared_ptr<memory_channel>> memory_line::live() {
    std::vector<std::shared_ptr<memory_channel>> found;
    std::erase_if(channels, [&](const std::weak_ptr<memory_channel> &w) {
        auto c = w.lock();
        if (c) {
            found.push_back(std::move(c));
            return false;
        }
        return true;
    });
    return found;
}

namespace {

/// What a connector was made with.
struct calling {
    std::string name;
    std::string alpn;
    std::string own_fingerprint;
    std::string peer_fingerprint;
};

std::shared_ptr<memory_channel> make_channel(memory_line &line, const calling &c) {
    auto channel = std::make_shared<memory_channel>();
    channel->application = c.alpn;
    channel->sides[0].peer_address = c.name;
    channel->sides[0].peer_fingerprint = c.peer_fingerprint;
    channel->sides[1].peer_address = "caller-" + std::to_string(++line.accepted);
    channel->sides[1].peer_fingerprint = c.own_fingerprint;
    (void)line.live(); // drops those that are gone, so that the list stays as long as it must be
    line.channels.push_back(channel);
    return channel;
}

std::unexpected<error> unreachable(const calling &c, int number, const char *hint) {
    return fail_errno(number, "can't reach " + c.name + hint);
}

/// TCP and TLS 1.3 take five delays until the accepting side knows its peer, and one more until the
/// connecting side is told. A fault on the way begins it anew, as repeated SYNs do.
task<result<std::unique_ptr<link>>> call_peer(std::shared_ptr<memory_line> line, calling c,
                                              duration timeout) {
    const time_point deadline = line->time.now() + timeout;
    for (;;) {
        if (line->time.now() >= deadline) {
            co_return fail(errc::timeout, "can't reach " + c.name);
        }
        if (line->state == line_state::half_open) {
            co_await line->changed.wait_until(line->time, deadline);
            continue;
        }
        const duration delay = line->options.delay;
        if (line->state == line_state::cut) {
            co_await line->time.sleep_until(std::min(deadline, line->time.now() + delay));
            co_return unreachable(c, EHOSTUNREACH, "");
        }
        const std::uint64_t faults = line->faults;
        co_await line->time.sleep_until(std::min(deadline, line->time.now() + 5 * delay));
        if (line->faults != faults || line->time.now() >= deadline) {
            continue;
        }
        const auto listener = line->listeners.find(c.name);
        if (listener == line->listeners.end()) {
            co_return unreachable(c, ECONNREFUSED, " (is farshore-receiver running there?)");
        }
        const auto channel = make_channel(*line, c);
        auto own = make_memory_link(line, channel, 0);
        const auto handler = listener->second; // it may replace itself
        handler(make_memory_link(line, channel, 1));
        co_await line->time.sleep_until(line->time.now() + delay);
        co_return own;
    }
}

class memory_connector final : public connector {
  public:
    memory_connector(std::shared_ptr<memory_line> line, calling c)
        : line_(std::move(line)), calling_(std::move(c)) {}
    task<result<std::unique_ptr<link>>> connect(duration timeout) override {
        return call_peer(line_, calling_, timeout);
    }

  private:
    std::shared_ptr<memory_line> line_;
    calling calling_;
};

void change(memory_line &line, line_state to) {
    line.state = to;
    ++line.faults;
    line.changed.notify_all();
}

} // namespace

memory_network::memory_network(executor home, time_source &time, memory_network_options options)
    : line_(std::make_shared<memory_line>(std::move(home), time, options)) {}

memory_network::~memory_network() { line_->listeners.clear(); }

void memory_network::listen(const std::string &name, on_link handler) {
    if (handler) {
        line_->listeners[name] = std::move(handler);
    } else {
        line_->listeners.erase(name);
    }
}

std::unique_ptr<connector> memory_network::make_connector(const std::string &name,
                                                          const std::string &alpn,
                                                          const std::string &own_fingerprint,
                                                          const std::string &peer_fingerprint) {
    return std::make_unique<memory_connector>(
        line_, calling{name, alpn, own_fingerprint, peer_fingerprint});
}

void memory_network::cut(duration notice) {
    change(*line_, line_state::cut);
    const time_point now = line_->time.now();
    for (const auto &channel : line_->live()) {
        channel->lose_in_flight(now);
        channel->black_hole = true;
        for (const int side : {0, 1}) {
            channel->fail(side, now + notice,
                          error{errc::closed, "the line was cut, with it the link to "});
        }
    }
}

void memory_network::half_open() {
    change(*line_, line_state::half_open);
    for (const auto &channel : line_->live()) {
        channel->lose_in_flight(line_->time.now());
        channel->black_hole = true;
    }
}

void memory_network::heal() { change(*line_, line_state::up); }

void memory_network::reset_all() {
    const time_point now = line_->time.now();
    for (const auto &channel : line_->live()) {
        channel->lose_in_flight(now);
        channel->black_hole = true;
        for (const int side : {0, 1}) {
            channel->fail(
                side, now,
                error{std::make_error_code(std::errc::connection_reset), "the connection to "});
        }
    }
}

void memory_network::set_options(const memory_network_options &options) {
    const std::uint64_t seed = line_->options.seed;
    line_->options = options;
    line_->options.seed = seed;
    line_->changed.notify_all();
}

std::uint64_t memory_network::bytes_carried() const { return line_->carried; }

} // namespace farshore::transport
