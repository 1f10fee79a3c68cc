#pragma once
// The demo's line between the sites: a TCP relay on loopback that counts bytes and can be cut. A
// cut resets every connection and refuses new ones; opening it again lets them through.

#include "replicator/base/async.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace farshore::demo {

class relay {
  public:
    relay();
    ~relay();
    relay(const relay &) = delete;
    relay &operator=(const relay &) = delete;

    /// Listens on a free port of 127.0.0.1, which it returns. Connections go to the target, set
    /// later.
    result<std::uint16_t> listen();
    void set_target(std::uint16_t port) { target_ = port; }
    void cut();
    void open();
    std::uint64_t bytes() const { return bytes_; } ///< carried, both ways

  private:
    struct pipe;
    task<void> accept();
    task<void> connect(asio::ip::tcp::socket accepted);
    static task<void> copy(std::shared_ptr<pipe> p, bool forward);

    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<std::uint16_t> target_{0};
    std::atomic<bool> closed_{false};
    asio::io_context io_{1};
    asio::ip::tcp::acceptor acceptor_{io_};
    std::vector<std::weak_ptr<pipe>> pipes_; ///< on the relay's thread
    std::thread thread_;
};

} // namespace farshore::demo
