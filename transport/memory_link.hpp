#pragma once
// A line in memory for tests and the simulation: links with delay, rate and faults, all drawn from
// a seed and timed by a time_source, on one executor. Messages of one link stay in order; links of
// one network are independent of each other, as TCP connections are.
//
// As with TCP, send() waits while too much is on its way (memory_window_bytes_max), what was sent
// before an orderly close still arrives, and then the other side reads errc::closed.
//
// Faults: cut (all links fail with closed after `notice`, new connects fail), half-open (messages
// vanish, nobody is told), and per link random reset with a probability a message (ECONNRESET on
// both sides, what was in flight is lost). A message in flight at a cut is lost; a message
// delivered is never changed (TLS guards that on the real line). A link that lived through the
// beginning of half_open() stays silent after heal(), since it can't go on without what it lost:
// only the heartbeat of its user finds out. The same holds for a cut until its notice is over.
//
// The time_source must outlive all coroutines that use a link or a connector.

#include "transport/link.hpp"

#include <functional>
#include <memory>
#include <string>

namespace farshore::transport {

struct memory_line;

struct memory_network_options {
    duration delay = std::chrono::milliseconds(1); ///< one way
    duration jitter{};                             ///< added uniformly at random
    std::uint64_t bytes_per_second = 0; ///< 0: unlimited; shared by all links, each direction
    double reset_probability = 0;       ///< a message
    std::uint64_t seed = 1;
};

class memory_network {
  public:
    memory_network(executor home, time_source &time, memory_network_options options);
    ~memory_network();

    using on_link = std::function<void(std::unique_ptr<link>)>;
    /// Names a listener; at most one handler a name. An empty handler removes it (connects then
    /// fail).
    void listen(const std::string &name, on_link handler);
    /// Connects as `own_fingerprint` to the listener; the accepting side sees that fingerprint, the
    /// connecting side sees `peer_fingerprint`.
    std::unique_ptr<connector> make_connector(const std::string &name, const std::string &alpn,
                                              const std::string &own_fingerprint,
                                              const std::string &peer_fingerprint);
    void cut(duration notice); ///< until heal()
    void half_open();          ///< until heal(): messages vanish silently, connects hang
    void heal();
    void reset_all(); ///< closes every link at once, as a process kill does
    void set_options(const memory_network_options &options); ///< the seed is kept
    std::uint64_t bytes_carried() const;

  private:
    std::shared_ptr<memory_line> line_;
};

} // namespace farshore::transport
